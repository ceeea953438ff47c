"""A patch encoder as a model of TIAToolbox, for its engines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import CheckpointError, ConfigError
from gimp_plugin.slides.encoders import PatchEncoder, find_encoder
from gimp_plugin.toolbox.quiet import logging_kept

with logging_kept():
    from tiatoolbox.models.models_abc import ModelABC


class Features(list[NDArray[np.float32]]):
    """A list of one array, which numpy takes for the array itself.

    DeepFeatureExtractor takes the first item of what a model gives when it reads slides, and all of
    it when it is given patches.
    """

    def __array__(
        self,
        dtype: np.dtype[Any] | None = None,
        copy: bool | None = None,  # noqa: FBT001  # numpy's signature
    ) -> NDArray[np.float32]:
        """Give the array."""
        return np.array(self[0], dtype=dtype, copy=copy)


class PatchEncoderModel(ModelABC):  # type: ignore[misc]  # TIAToolbox has no types
    """A patch encoder that TIAToolbox's engines run: 8-bit patches in, float32 features out.

    The preprocessing is part of the network, so patches are given as they are read.

    Parameters
    ----------
    name
        As for `gimp extract-features --patch-encoder`. Weights are looked for when a state dict is
        loaded, as `get_pretrained_model` does; `patch_encoder` makes one that is ready.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.encoder: PatchEncoder | None = None
        self.network: nn.Module | None = None

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches, shape (batch, height, width, 3)."""
        if self.network is None:
            problem = f"the patch encoder {self.name!r} has no weights yet"
            raise CheckpointError(problem, hint="make it with gimp_plugin.toolbox.patch_encoder")
        return self.network(patches)

    @staticmethod
    def preproc(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give a patch as it is; the network prepares it."""
        if image.dtype != np.uint8 or image.shape[-1] != 3:
            problem = f"a patch is {image.dtype} of shape {image.shape}"
            raise ConfigError(problem, hint="expected 8-bit RGB, shape (height, width, 3)")
        return image

    @staticmethod
    def infer_batch(model: nn.Module, batch_data: Any, *, device: str) -> Features:
        """Encode a batch, as an engine calls it.

        Parameters
        ----------
        model
            The model, perhaps compiled or spread over GPUs.
        batch_data
            8-bit patches.
        device
            Where the model is.

        Returns
        -------
        Features of shape (batch, dim), as both modes of the engines want them.
        """
        with torch.inference_mode():
            features = model(torch.as_tensor(batch_data).to(device))
        return Features([features.float().cpu().numpy()])

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,  # noqa: FBT001, FBT002  # torch's signature
        assign: bool = False,  # noqa: FBT001, FBT002  # torch's
    ) -> Any:
        """Load weights: none take the encoder's own, others are those of `--weights`.

        Parameters
        ----------
        state_dict
            What the weights file holds.
        strict, assign
            As in torch, once there is a network.

        Returns
        -------
        Missing and unexpected keys; there are none.
        """
        if self.network is not None:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        with _as_file(state_dict) as weights:
            self.use(weights)
        return super().load_state_dict(self.state_dict())

    def use(self, weights: Path | None, *, offline: bool = False) -> None:
        """Build the network.

        Parameters
        ----------
        weights
            Weights file; None takes the encoder's own.
        offline
            Forbid a download.
        """
        config = ExtractionConfig(patch_encoder=self.name, weights=str(weights or ""))
        self.encoder = find_encoder(config, offline=offline)
        self.network = self.encoder.module().eval().requires_grad_(requires_grad=False)


@contextmanager
def _as_file(state_dict: Mapping[str, Any]) -> Iterator[Path | None]:
    """Weights as a file, which is what patch encoders are made from; None where there are none."""
    if not state_dict:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(dict(state_dict), path)
        yield path


def patch_encoder(
    name: str, *, weights: Path | str | None = None, offline: bool = False
) -> PatchEncoderModel:
    """Patch encoder as an instance, for `DeepFeatureExtractor(model=...)`.

    Parameters
    ----------
    name
        As for `gimp extract-features --patch-encoder`.
    weights
        Weights file; None takes the encoder's own.
    offline
        Forbid a download.

    Returns
    -------
    The model, ready to use.
    """
    model = PatchEncoderModel(name)
    model.use(None if weights is None else Path(weights), offline=offline)
    return model
