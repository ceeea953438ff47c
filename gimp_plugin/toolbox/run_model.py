"""A fine-tuned run as a TIAToolbox model, and the cases that it gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from gimp_plugin.assembly.load import load_classifier
from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.prediction.encoding import each_case
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.toolbox.quiet import logging_kept

with logging_kept():
    from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
    from tiatoolbox.models.models_abc import ModelABC


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an engine's loader: a case, and its standardised genes, shape (1, gene)."""

    case: Case
    genes: Tensor | None


class Items(Dataset[Item]):
    """Cases by index."""

    def __init__(self, cases: Sequence[Case], genes: Tensor | None) -> None:
        self.cases, self.genes = cases, genes

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        case = self.cases[index]
        if self.genes is None or not case.has_genes:
            return Item(case, None)
        return Item(replace(case, gene_row=0), self.genes[case.gene_row][None])


class RunModel(ModelABC):  # type: ignore[misc]  # TIAToolbox has no types
    """The model of a fine-tuned run, in the form that TIAToolbox's engines call.

    Parameters
    ----------
    run
        The run folder.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.record: RunRecord
        self.record, self.gimp = load_classifier(run)
        self.class_dict = dict(enumerate(self.record.classes))

    def forward(self, *halves: Tensor) -> Tensor:
        """Give the logits of `GimpModel.classify`; engines call `infer_batch`."""
        return self.gimp.classify(*halves)

    @staticmethod
    def infer_batch(model: nn.Module, batch_data: Item, *, device: str) -> dict[str, Any]:
        """Predict one case from all its patches.

        Parameters
        ----------
        model
            The model, which may be compiled or distributed over GPUs.
        batch_data
            The case.
        device
            Device to compute on.

        Returns
        -------
        `probabilities`, shape (class,), and `attention` to each patch, averaged over the heads.
        """
        own: Any = getattr(model, "module", model)
        found: list[Tensor] = []

        def encode(chunks: Iterable[Tensor], sizes: Sequence[int]) -> Tensor:
            cls_img, attention = own.gimp.attend_slides(chunks, sizes)
            found.append(attention.float().mean(dim=0).cpu())
            return cls_img

        ((_, logits),) = each_case(
            own.gimp,
            [batch_data.case],
            genes=batch_data.genes,
            give=own.gimp.classify,
            runtime=Runtime(device=device),
            encode=encode,
        )
        probabilities = (logits.double() / own.record.temperature).softmax(dim=0)
        return {"probabilities": probabilities.numpy(), "attention": found[0].numpy()}

    @staticmethod
    def postproc(image: Any) -> Any:
        """Index of the most probable class."""
        return image.argmax(axis=-1)


def reading_of(record: RunRecord) -> IOPatchPredictorConfig:
    """Describe how a run's patches were read, in a form that TIAToolbox requires but we do not use.

    Parameters
    ----------
    record
        The run.

    Returns
    -------
    Size, step and resolution of the patches.
    """
    usual = ExtractionConfig().to_dict() | record.extraction
    size = [int(usual["patch_size"])] * 2
    return IOPatchPredictorConfig(
        patch_input_shape=size,
        stride_shape=[int(usual["stride"] or usual["patch_size"])] * 2,
        input_resolutions=[{"units": "mpp", "resolution": float(usual["mpp"])}],
    )
