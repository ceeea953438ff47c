"""Running a patch encoder on a device."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import torch
from numpy.typing import NDArray

from gimp_plugin.assembly.device import device_of, precision_of
from gimp_plugin.config import Runtime
from gimp_plugin.errors import ConfigError, ResourceError
from gimp_plugin.slides.encoders import PatchEncoder

logger = logging.getLogger(__name__)

CPU_BATCH, CUDA_BATCH = 16, 256


class Encoding:
    """An encoder on its device: pixels in, float32 features out.

    Parameters
    ----------
    encoder
        What to run.
    runtime
        Device and precision.
    """

    def __init__(self, encoder: PatchEncoder, runtime: Runtime) -> None:
        self.encoder = encoder
        self.device = device_of(runtime)
        self.precision = precision_of(runtime)
        module = encoder.module().eval().requires_grad_(requires_grad=False)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self._module = module.to(self.device)

    @property
    def batch_size(self) -> int:
        """Patches a batch that suit the device."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode patches; a batch that does not fit the device's memory is halved.

        Parameters
        ----------
        patches
            RGB, shape (patch, height, width, 3).

        Returns
        -------
        Shape (patch, dim).

        Raises
        ------
        ResourceError
            If not even one patch fits.
        """
        try:
            return self._encode(patches)
        except torch.OutOfMemoryError as error:
            if len(patches) == 1:
                problem = f"one patch does not fit the memory of {self.device}"
                raise ResourceError(problem, hint="give --device cpu") from error
        logger.warning("%d patches do not fit the memory of %s: halved", len(patches), self.device)
        middle = len(patches) // 2
        return np.concatenate([self(patches[:middle]), self(patches[middle:])])

    @torch.inference_mode()
    def _encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode one batch."""
        pixels = torch.from_numpy(patches).to(self.device, non_blocking=True)
        with self._autocast():
            features = self._module(pixels)
        if features.shape != (len(patches), self.encoder.dim):
            problem = (
                f"the patch encoder {self.encoder.name!r} gave shape {tuple(features.shape)}, "
                f"expected ({len(patches)}, {self.encoder.dim})"
            )
            raise ConfigError(problem, hint="correct its dim, or its network")
        return features.float().cpu().numpy()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        """Lower precision where it is asked for."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)
