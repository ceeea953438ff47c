"""The model of a bundle or a run in Python: `gimp_plugin.GimpModel`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.assembly.load import load_run, transform_of
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.models import gimp
from gimp_plugin.prediction.embedding import embed
from gimp_plugin.prediction.predict import PredictionResult, predict
from gimp_plugin.storage.runs import RunRecord

if TYPE_CHECKING:
    import anndata

PATHS = ("adata", "labels", "features", "slide_table")


@dataclass(frozen=True, slots=True, eq=False)
class GimpModel:
    """A trained model: to predict with as the commands do, or as a module of torch.

    Parameters
    ----------
    record
        What the folder says of itself.
    module
        The network, on the CPU in evaluation mode; its `encode_slides`, `encode_genes` and
        `classify` are what a training script of your own takes, and its `system` where the run is
        of one. `predict` and `embed` read the folder, so they do not see what is changed here.
    transform
        From expression to what `module` reads; None for a model without genes.
    """

    record: RunRecord
    module: gimp.GimpModel
    transform: GeneTransform | None

    @classmethod
    def from_pretrained(cls, path: Path | str) -> GimpModel:
        """Load a model bundle, or a run; nothing is unpickled or fetched.

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
            If it is neither, a file of it is missing, or one is not as it was written.
        """
        record, module = load_run(Path(path))
        return cls(record, module, transform_of(record))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits; the second is the positive one of two."""
        return self.record.classes

    @property
    def genes(self) -> tuple[str, ...]:
        """Ids of the genes that it reads, in its order; none for a model without genes."""
        return () if self.transform is None else self.transform.gene_ids

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax."""
        return self.record.temperature

    def predict(
        self,
        *,
        output: Path | str,
        runtime: Runtime | None = None,
        missing: str = "keep",
        min_gene_coverage: float = 0.95,
        modalities: str | None = None,
        abstain_below: float = 0.0,
        **inputs: Path | str,
    ) -> PredictionResult:
        """Predict cases, as `gimp_plugin.prediction.predict` and the command do.

        Parameters
        ----------
        output
            The table to write.
        runtime
            Device and precision.
        missing, min_gene_coverage, modalities, abstain_below
            As for `gimp_plugin.prediction.predict`.
        **inputs
            Where the cases are: `adata`, `features` and what else `CohortSource` has, paths as text
            if you like.

        Returns
        -------
        What was predicted.

        Raises
        ------
        GimpError
            As `gimp_plugin.prediction.predict`; of an input that there is not, ConfigError.
        """
        given: dict[str, Any] = dict(inputs)
        given |= {name: Path(given[name]) for name in PATHS if given.get(name) is not None}
        return predict(
            self.record.path,
            CohortSource.from_dict(given),
            output=Path(output),
            runtime=runtime or Runtime(),
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
