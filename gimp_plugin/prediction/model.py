"""The model of a bundle or a run in Python: `gimp_plugin.GimpModel`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.assembly.load import load_classifier, transform_of
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.config import CohortSource, Runtime
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
            If it is neither, was not fine-tuned (`embed` takes a pre-trained run as a path), a file
            of it is missing, or one is not as it was written.
        """
        record, module = load_classifier(Path(path))
        return cls(record, module, transform_of(record))

    def __repr__(self) -> str:
        """Say what it tells apart, and from what."""
        encoder = encoder_text(self.record.encoder)
        reads = [f"{len(self.genes)} genes"] if self.genes else []
        reads += [f"slides by {encoder}"] if self.record.config.model.has_slides else []
        kind = "bundle" if self.record.bundled else "run"
        told = f"classes {', '.join(self.classes)}; reads {' and '.join(reads)}"
        return f"<GimpModel of {kind} {str(self.record.path)!r}: {told}>"

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
        **inputs: anndata.AnnData | Path | str,
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
            if you like, `adata` also as an AnnData.

        Returns
        -------
        What was predicted.

        Raises
        ------
        GimpError
            As `gimp_plugin.prediction.predict`; of an input that there is not, ConfigError.
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
    """Path that was given under a name."""
    if isinstance(given, (str, Path)) and str(given):
        return Path(given)
    what = "a path or an AnnData" if name == "adata" else "a path"
    problem = f"{name} is {type(given).__name__} {given!r:.40}, expected {what}"
    raise ConfigError(problem)
