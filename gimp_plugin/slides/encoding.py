"""Run a patch encoder on a device."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        The patch encoder.
    runtime
        Device and precision.
    """

    def __init__(self, encoder: PatchEncoder, runtime: Runtime) -> None:
        self.encoder = encoder
        self.device = device_of(runtime)
        self.precision = precision_of(runtime)
        n_devices = torch.cuda.device_count() if self.device.type == "cuda" else 1
        if n_devices > 1 and ":" not in runtime.device:
            told = "using one of %d GPUs; --scheduler local:%d uses all of them"
            logger.info(told, n_devices, n_devices)
        module = encoder.module().eval().requires_grad_(requires_grad=False)
        self._module = module.to(self.device)
        self._most: int | None = None

    @property
    def batch_size(self) -> int:
        """Number of patches per batch that suits the device."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode patches, halving a batch that does not fit into the device's memory.

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
        return self._launch(patches).wait()

    def stream(
        self, batches: Iterable[tuple[NDArray[np.int32], NDArray[np.uint8]]]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Encode batches; a GPU works on one while the next arrives.

        Parameters
        ----------
        batches
            Coordinates and pixels; a batch may be empty.

        Yields
        ------
        Coordinates and features, shape (patch, dim).
        """
        pending: tuple[NDArray[np.int32], _Launched] | None = None
        for coords, patches in batches:
            launched = self._launch(patches) if len(patches) else None
            if pending:
                yield pending[0], pending[1].wait()
            pending = (coords, launched) if launched else None
        if pending:
            yield pending[0], pending[1].wait()

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Allocate memory for pixels, pinned so that a GPU can copy them asynchronously.

        Parameters
        ----------
        shape, dtype
            Of the array; only 8-bit arrays are pinned.

        Returns
        -------
        The array, its content undefined.
        """
        if self.device.type != "cuda" or dtype != np.uint8:
            return np.empty(shape, dtype)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()

    def _launch(self, patches: NDArray[np.uint8]) -> _Launched:
        """Start to encode patches, in as many pieces as the device's memory requires."""
        size = min(len(patches), self._most or len(patches))
        pieces: list[Tensor] = []
        done = 0
        while done < len(patches):
            try:
                pieces.append(self._encode(patches[done : done + size]))
                done += size
                continue
            except torch.OutOfMemoryError as error:
                if size == 1:
                    problem = f"one patch does not fit into the memory of {self.device}"
                    raise ResourceError(problem, hint="give --device cpu") from error
            logger.warning(
                "%d patches do not fit into the memory of %s: halving the batch", size, self.device
            )
            self._most = size = size // 2
        return _Launched(pieces, self.device)

    @torch.inference_mode()
    def _encode(self, patches: NDArray[np.uint8]) -> Tensor:
        """Start to encode one batch; on a GPU the result arrives later."""
        pixels = torch.from_numpy(patches).to(self.device, non_blocking=True)
        with self._autocast():
            features = self._module(pixels)
        if features.shape != (len(patches), self.encoder.dim):
            problem = (
                f"the patch encoder {self.encoder.name!r} gave shape {tuple(features.shape)}, "
                f"expected ({len(patches)}, {self.encoder.dim})"
            )
            raise ConfigError(problem, hint="correct its dim, or its network")
        return features.float().to("cpu", non_blocking=True)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        """Context of the lower precision, if requested."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class _Launched:
    """Features being computed; on the CPU they are ready at once."""

    def __init__(self, pieces: list[Tensor], device: torch.device) -> None:
        self._pieces = pieces
        self._done: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no type
            self._done.record(torch.cuda.current_stream(device))

    def wait(self) -> NDArray[np.float32]:
        """Wait for the features."""
        if self._done is not None:
            self._done.synchronize()
        arrays = [piece.numpy() for piece in self._pieces]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
