"""Embeddings of cases, stored in an AnnData where scanpy finds them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin import keys
from gimp_plugin.assembly.device import precision_of
from gimp_plugin.assembly.load import check_bags, load_run, transform_of
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.config.checks import require_choice
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import prepare, with_defaults
from gimp_plugin.data.views import warn_of_other_views
from gimp_plugin.errors import CheckpointError, CohortError, PairingError, listed
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.losses import patient_embedding
from gimp_plugin.prediction.encoding import Given, each_case, needed_halves
from gimp_plugin.prediction.files import inherited
from gimp_plugin.storage.atomic import sha256_file, sha256_json
from gimp_plugin.storage.runs import RunRecord

if TYPE_CHECKING:
    import anndata

logger = logging.getLogger(__name__)

PATIENT = "patient"
EMBEDDINGS = (PATIENT, keys.GENES, keys.SLIDES)
PLACE = "embeddings"


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embeddings of the cases of a cohort.

    Parameters
    ----------
    values
        One row per case, in the order of the cohort, shape (case, dim).
    facts
        What they were made from, as text and numbers.
    """

    values: NDArray[np.float32]
    facts: dict[str, str | int | float]


def embed(  # noqa: PLR0913  # a scanpy user's keywords, not our configuration objects
    adata: anndata.AnnData,
    run: Path | str,
    *,
    what: str = PATIENT,
    layer: str | None = None,
    scale: str | None = None,
    features: Path | str | None = None,
    slide_table: Path | str | None = None,
    key_added: str = keys.OBSM,
    min_gene_coverage: float = MIN_GENE_COVERAGE,
    device: str = "auto",
    precision: str = "auto",
) -> None:
    """Add the embedding of each case to an AnnData, as scanpy's functions do.

    Sets `adata.obsm[key_added]`, float32, one row per case, and records what it was made from in
    `adata.uns["gimp"]["embeddings"][key_added]`. Nothing else changes. Each case is computed alone,
    with all its patches, so its row does not depend on other cases.

    Parameters
    ----------
    adata
        Cases by genes, on the scale of the training: not normalised, or with a layer that is not.
    run
        A pre-trained or fine-tuned run.
    what
        `patient`: for a fine-tuned run, both halves side by side, as the head reads them (a learned
        token replaces slides that a case lacks, if the run was trained for that); for a pre-trained
        run, CLS_pat of its triplet loss. `genes`: CLS_ge. `slides`: CLS_img.
    layer
        Layer with the expression, instead of X.
    scale
        Scale of the expression; by default the one that `uns["gimp"]["scale"]` declares for X, or
        else guessed.
    features
        Folder of bags; by default the run's.
    slide_table
        CSV `slide_id,case_id`; by default the run's, if `features` are the run's too.
    key_added
        Key of `obsm`; an existing entry is replaced.
    min_gene_coverage
        Minimum share of the run's genes that the AnnData must have.
    device
        `auto`, `cpu`, `cuda` or `cuda:N`.
    precision
        `auto` (float32 on the CPU, bf16 on CUDA), `fp32` or `bf16`.

    Raises
    ------
    CheckpointError
        If the run has no such half, is damaged, or was trained on other features.
    CohortError
        If the genes do not fit the run.
    PairingError
        If a case lacks slides that the embedding needs.
    """
    _check_target(adata, key_added)
    require_choice("what", what, EMBEDDINGS)
    found = embedded(
        Cohort.from_anndata(adata, layer=layer, scale=scale),
        Path(run),
        what=what,
        source=CohortSource(
            layer=layer,
            features=None if features is None else Path(features),
            slide_table=None if slide_table is None else Path(slide_table),
        ),
        min_gene_coverage=min_gene_coverage,
        runtime=Runtime(device=device, precision=precision),
    )
    own = dict(adata.uns.get(keys.UNS, {}))
    own[PLACE] = {**own.get(PLACE, {}), key_added: dict(found.facts)}
    adata.obsm[key_added] = found.values
    adata.uns[keys.UNS] = own


def embedded(
    cohort: Cohort,
    run: Path,
    *,
    what: str,
    source: CohortSource,
    min_gene_coverage: float,
    runtime: Runtime,
) -> Embedded:
    """Compute the embedding of each case of a cohort.

    Parameters
    ----------
    cohort
        The cases.
    run, what, min_gene_coverage
        As for `embed`.
    source
        Where the bags are; fields that are None are taken from the run. The layer is only recorded.
    runtime
        Device and precision.

    Returns
    -------
    The embeddings, and what they were made from.

    Raises
    ------
    GimpError
        As for `embed`.
    """
    record, model = load_run(run)
    halves = _halves(record, what)
    inputs = with_defaults(
        replace(source, adata=cohort.path, missing="keep"), of=inherited(record, source)
    )
    modalities = keys.BOTH if len(halves) == 2 else halves[0]
    study = prepare(inputs, modalities=modalities, labelled=False, cohort=cohort)
    check_bags(record, feature_dim=study.feature_dim, encoder=study.encoder)
    warn_of_other_views(record, [bag for case in study.cases for bag in case.bags])
    by_id = {case.case_id: case for case in study.cases}
    cases = [by_id[case_id] for case_id in cohort.case_ids]
    _check_slides(cases, needed_halves(record) if what == PATIENT else halves, what=what)
    facts: dict[str, str | int | float] = {
        "what": what,
        "run": record.kind,
        "model_sha256": sha256_file(record.weights),
        "inputs_sha256": sha256_json(study.fingerprint()),
        "precision": precision_of(runtime),
        "n_patches": sum(case.n_patches for case in cases),
    }
    genes, transform = None, transform_of(record) if keys.GENES in halves else None
    if transform is not None:
        values, coverage = transform.apply(cohort, min_coverage=min_gene_coverage)
        genes = torch.from_numpy(values)
        layer = source.layer or "X"
        facts |= {"layer": layer, "scale": cohort.scale, "gene_coverage": coverage}
    give = _given(record, model, what)
    rows = each_case(model, cases, genes=genes, give=give, runtime=runtime, title="embed")
    return Embedded(np.stack([row.float().numpy() for _, row in rows]), facts)


def _check_target(adata: anndata.AnnData, key_added: str) -> None:
    """Refuse an AnnData that cannot take the embedding, before any work."""
    if adata.isbacked:
        raise CohortError("the AnnData is backed by a file", hint="give adata.to_memory()")
    if not isinstance(adata.uns.get(keys.UNS, {}), Mapping):
        kind = type(adata.uns[keys.UNS]).__name__
        problem = f"uns[{keys.UNS!r}] of the AnnData is {kind}, expected a dictionary"
        raise CohortError(problem, hint="move what is stored there to another key")
    if not key_added or "/" in key_added:
        problem = f"key_added is {key_added!r}, expected a name without '/'"
        raise CohortError(problem, hint="an .h5ad file cannot hold it")


def _halves(record: RunRecord, what: str) -> tuple[str, ...]:
    """Halves that an embedding is made from; a run that lacks one is refused."""
    model = record.config.model
    if model.system:
        problem = f"run {str(record.path)!r} is of the system {model.system!r}: it has no embedding"
        raise CheckpointError(problem, hint="give a run of a model made of parts")
    has = tuple(
        name
        for name, here in ((keys.SLIDES, model.has_slides), (keys.GENES, model.has_genes))
        if here
    )
    wanted = has if what == PATIENT else (what,)
    if not set(wanted) <= set(has):
        problem = f"run {str(record.path)!r} was trained on {model.modalities}: it has no {what}"
        raise CheckpointError(problem, hint=f"give {' or '.join((PATIENT, *has))}, or another run")
    return wanted


def _check_slides(cases: list[Case], needed: tuple[str, ...], *, what: str) -> None:
    """Refuse cases without slides if the embedding needs slides; else warn of them."""
    bare = [case.case_id for case in cases if not case.has_slides]
    if bare and keys.SLIDES in needed:
        problem = f"{len(bare)} of {len(cases)} cases have no slide, and the embedding {what!r} of "
        problem += f"this run needs one: {listed(bare)}"
        raise PairingError(problem, hint="leave these cases out of the AnnData, or embed 'genes'")
    if bare and what == PATIENT and len(bare) < len(cases):
        text = "%d of %d cases have no slide; a learned token is used instead of slides: %s"
        logger.warning(text, len(bare), len(cases), listed(bare))


def _given(record: RunRecord, model: GimpModel, what: str) -> Given:
    """Give the function that turns the halves of a case into its embedding."""
    normalise = record.config.pretrain.normalise_halves

    def give(
        cls_img: Tensor | None, cls_ge: Tensor | None, has_slides: Tensor, has_genes: Tensor
    ) -> Tensor:
        one = cls_ge if cls_img is None else cls_img
        if what == PATIENT and record.kind == "finetune":
            return model.fusion(cls_img, cls_ge, has_slides, has_genes)
        if cls_img is not None and cls_ge is not None:
            return patient_embedding(cls_img, cls_ge, normalise=normalise)
        if one is None:
            raise RuntimeError("a case has no half that the embedding is made of")
        return one

    return give
