"""The model of a bundle or a run in Python: `gimp_plugin.GimpModel`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.assembly.load import load_classifier, transform_of
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.data.study import encoder_text
from gimp_plugin.errors import ConfigError
from gimp_plugin.models import gimp
from gimp_plugin.prediction.embedding import embed
from gimp_plugin.prediction.predict import PredictionResult, predict
from gimp_plugin.storage.runs import RunRecord

if TYPE_CHECKING:
    import anndata

PATHS = ("adata", "labels", "features", "slide_table")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GimpModel:
    """A trained model, to predict with like the commands, or to use as a torch module.

    Parameters
    ----------
    record
        Metadata of the folder.
    module
        The network, on the CPU in evaluation mode; your own training script can use its
        `encode_slides`, `encode_genes` and `classify`, or its `system` if the run is of one.
        `predict` and `embed` read the folder, so they do not see changes to this module.
    transform
        Converts expression to the input of `module`; None for a model without genes.
    """

    record: RunRecord
    module: gimp.GimpModel
    transform: GeneTransform | None

    @classmethod
    def from_pretrained(cls, path: Path | str) -> GimpModel:
        """Load a model bundle or a run; nothing is unpickled or downloaded.

        Parameters
        ----------
        path
            The folder.

        Returns
        -------
        The model.

        Raises
        ------
        MissingFileError
            If there is no such folder.
        CheckpointError
            If it is neither, was not fine-tuned (`embed` takes a pre-trained run as a path), or one
            of its files is missing or was changed.
        """
        record, module = load_classifier(Path(path))
        return cls(record, module, transform_of(record))

    def __repr__(self) -> str:
        """Show the classes, and what the model reads."""
        encoder = encoder_text(self.record.encoder)
        reads = [f"{len(self.genes)} genes"] if self.genes else []
        reads += [f"slides by {encoder}"] if self.record.config.model.has_slides else []
        kind = "bundle" if self.record.bundled else "run"
        told = f"classes {', '.join(self.classes)}; reads {' and '.join(reads)}"
        return f"<GimpModel of {kind} {str(self.record.path)!r}: {told}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits; of two classes, the second is positive."""
        return self.record.classes

    @property
    def genes(self) -> tuple[str, ...]:
        """Ids of the genes, in the order that the model reads them; empty without genes."""
        return () if self.transform is None else self.transform.gene_ids

    @property
    def temperature(self) -> float:
        """Number by which logits are divided before the softmax."""
        return self.record.temperature

    def predict(
        self,
        *,
        output: Path | str,
        runtime: Runtime | None = None,
        missing: str = "keep",
        min_gene_coverage: float = MIN_GENE_COVERAGE,
        modalities: str | None = None,
        abstain_below: float = 0.0,
        **inputs: anndata.AnnData | Path | str,
    ) -> PredictionResult:
        """Predict cases, like `gimp_plugin.prediction.predict` and the command.

        Parameters
        ----------
        output
            The table to write.
        runtime
            Device and precision.
        missing, min_gene_coverage, modalities, abstain_below
            As for `gimp_plugin.prediction.predict`.
        **inputs
            Where the cases are: `adata`, `features` and the other fields of `CohortSource`. Paths
            may be text, and `adata` may be an AnnData.

        Returns
        -------
        The result of the prediction.

        Raises
        ------
        GimpError
            As `gimp_plugin.prediction.predict`; ConfigError for an unknown input.
        """
        given: dict[str, Any] = dict(inputs)
        adata = given.pop("adata") if hasattr(given.get("adata"), "obs_names") else None
        for name in PATHS:
            given |= {name: _path(name, given[name])} if given.get(name) is not None else {}
        return predict(
            self.record.path,
            CohortSource.from_dict(given),
            output=_path("output", output),
            runtime=runtime or Runtime(),
            adata=adata,
            missing=missing,
            min_gene_coverage=min_gene_coverage,
            modalities=modalities,
            abstain_below=abstain_below,
        )

    def embed(self, adata: anndata.AnnData, **options: Any) -> None:
        """Add embeddings to an AnnData.

        Parameters
        ----------
        adata
            The cases.
        **options
            As for `gimp_plugin.prediction.embed`.

        Raises
        ------
        GimpError
            As `gimp_plugin.prediction.embed`.
        """
        embed(adata, self.record.path, **options)


def _path(name: str, given: object) -> Path:
    """Convert an argument to a path, or refuse it by its name."""
    if isinstance(given, (str, Path)) and str(given):
        return Path(given)
    what = "a path or an AnnData" if name == "adata" else "a path"
    problem = f"{name} is {type(given).__name__} {given!r:.40}, expected {what}"
    raise ConfigError(problem)
