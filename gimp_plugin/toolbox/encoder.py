"""A patch encoder as a TIAToolbox model, for its engines."""

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
    """A list of one array, which numpy converts to the array itself.

    DeepFeatureExtractor uses the first item of a model's output when it reads slides, and the whole
    output when it gets patches.
    """

    def __array__(
        self,
        dtype: np.dtype[Any] | None = None,
        copy: bool | None = None,  # noqa: FBT001  # numpy's signature
    ) -> NDArray[np.float32]:
        """Give the array."""
        return np.array(self[0], dtype=dtype, copy=copy)


class PatchEncoderModel(ModelABC):  # type: ignore[misc]  # TIAToolbox has no types
    """A patch encoder for TIAToolbox's engines: 8-bit patches in, float32 features out.

    The preprocessing is part of the network, so patches are passed as they are read.

    Parameters
    ----------
    name
        As for `gimp extract-features --patch-encoder`. The encoder looks for its weights when a
        state dict is loaded, as `get_pretrained_model` does; `patch_encoder` makes a ready model.
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
        """Give a patch unchanged; the network does the preprocessing."""
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
            The model, which may be compiled or distributed over GPUs.
        batch_data
            8-bit patches.
        device
            Device of the model.

        Returns
        -------
        Features of shape (batch, dim), in a form for both modes of the engines.
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
        """Load weights: an empty state dict means the encoder's own, others are as for `--weights`.

        Parameters
        ----------
        state_dict
            Content of the weights file.
        strict, assign
            As in torch, if there is already a network.

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
            Weights file; None for the encoder's own weights.
        offline
            Whether to forbid a download.
        """
        config = ExtractionConfig(patch_encoder=self.name, weights=str(weights or ""))
        self.encoder = find_encoder(config, offline=offline)
        self.network = self.encoder.module().eval().requires_grad_(requires_grad=False)


@contextmanager
def _as_file(state_dict: Mapping[str, Any]) -> Iterator[Path | None]:
    """Weights as a temporary file, for patch encoders to read; None if there are no weights."""
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
    """Make a patch encoder for `DeepFeatureExtractor(model=...)`.

    Parameters
    ----------
    name
        As for `gimp extract-features --patch-encoder`.
    weights
        Weights file; None for the encoder's own weights.
    offline
        Whether to forbid a download.

    Returns
    -------
    The model, ready to use.
    """
    model = PatchEncoderModel(name)
    model.use(None if weights is None else Path(weights), offline=offline)
    return model
