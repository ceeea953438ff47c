"""From runs and cases to a folder that says why: maps, genes, halves, and whether it is true."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gimp_plugin.assembly.device import device_of
from gimp_plugin.config import CohortSource, ExplainConfig, Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import (
    CheckpointError,
    CohortError,
    GimpError,
    MissingFileError,
    PairingError,
    ResourceError,
    SafetyError,
    did_you_mean,
    listed,
)
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.storage.atomic import sha256_file, sha256_json
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.tables import (
    EXCLUSIONS,
    FAILURES,
    Failure,
    write_exclusions,
    write_failures,
)
from gimp_plugin.studies.explanation import embedding, tables
from gimp_plugin.studies.explanation.compute import Explainer
from gimp_plugin.studies.explanation.folder import LOCK, claim, finish
from gimp_plugin.studies.explanation.inputs import Inputs, read_inputs
from gimp_plugin.studies.explanation.names import file_name
from gimp_plugin.studies.explanation.results import CaseResult, read_case, write_case
from gimp_plugin.studies.explanation.slides import Writer
from gimp_plugin.studies.explanation.truth import check_truth, truth_path
from gimp_plugin.studies.explanation.writing import SlideFiles, slide_files

logger = logging.getLogger(__name__)

CASES = "cases"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was explained.

    Parameters
    ----------
    path
        The folder.
    outcome
        `done`, or `nothing to do`.
    n_cases
        Cases that were explained.
    failures
        What could not be.
    """

    path: Path
    outcome: str
    n_cases: int
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What an explanation may take beside runs and cases.

    Parameters
    ----------
    slides
        Slides, and folders of slides, for the pictures.
    truth
        Folder with what the patches are.
    gene_sets
        A GMT file.
    site_key
        Column of the cohort with the hospital of each case.
    """

    slides: tuple[Path, ...] = ()
    truth: Path | None = None
    gene_sets: Path | None = None
    site_key: str = ""


def explain(
    runs: Sequence[Path],
    source: CohortSource,
    *,
    output: Path,
    config: ExplainConfig,
    runtime: Runtime,
    beside: Beside | None = None,
    splits: Sequence[str] = (),
    min_gene_coverage: float = 0.95,
    writers: Mapping[str, tuple[str, Writer]] | None = None,
) -> Explanation:
    """Explain what a run says of cases.

    Each case is explained alone and kept as soon as it is done, so an interrupted command goes on;
    what ranks among all cases, and everything that is drawn, follows at the end.

    Parameters
    ----------
    runs
        Fine-tuned runs; the first is explained, the others are compared with it.
    source
        Where the cases are; what is None is taken from the run.
    output
        The folder to write.
    config
        What decides it.
    runtime
        Device and seed; the precision is float32.
    beside
        Slides, truth, sets of genes.
    splits
        Parts of the splits whose cases are explained; all if empty.
    min_gene_coverage
        Least share of a run's genes that the cohort must have.
    writers
        Suffix and writer of patches by name of `ExplainConfig.formats`.

    Returns
    -------
    What was done.

    Raises
    ------
    GimpError
        If a run, the cases, or what stands beside them cannot be used.
    StaleOutputError
        If `output` explains something else.
    """
    beside = beside or Beside()
    device = device_of(runtime)
    inputs = read_inputs(
        runs,
        source,
        splits=splits,
        min_gene_coverage=min_gene_coverage,
        target=config.target,
        device=device,
    )
    slides = _check_beside(beside, inputs)
    explainer = Explainer(
        inputs=inputs, config=config, truth=beside.truth, seed=runtime.seed, device=device
    )
    made_from = _made_from(inputs, config, runtime, beside, slides)
    formats = {name: pair for name, pair in (writers or {}).items() if name in config.formats}
    kept = SlideFiles(
        folder=output, config=config, writers=formats, slides=slides, with_slides=bool(beside.slides)
    )
    files = _files(inputs, kept)
    with held(output / LOCK):
        if not claim(output, made_from, files, overwrite=runtime.overwrite):
            logger.info("%s is complete and current: nothing to do", output)
            return Explanation(output, "nothing to do", len(inputs.cases))
        failures: list[Failure] = []
        results = list(_results(explainer, output, made_from, failures))
        if not results:
            write_failures(output, failures)
            problem = f"none of {len(inputs.cases)} cases could be explained"
            raise PairingError(problem, hint=f"{str(output / FAILURES)!r} says why")
        _write_tables(output, results, inputs, config, runtime, beside)
        with ExitStack() as stack:
            readers = stack.enter_context(SlideReaders()) if kept.needs_readers else None
            failures += slide_files(kept, results, inputs, readers)
        write_failures(output, failures)
        write_exclusions(output, inputs.exclusions)
        finish(output, made_from, files, complete=not failures)
    return Explanation(output, "done", len(results), tuple(failures))


def _results(
    explainer: Explainer, output: Path, made_from: dict[str, Any], failures: list[Failure]
) -> Iterator[tuple[Case, CaseResult]]:
    """Each case, computed or as it was kept; one that fails stops no other."""
    cases = explainer.inputs.cases
    common = sha256_json({key: made_from[key] for key in ("models", "settings", "seed")})
    for case in tqdm(cases, desc="explain", disable=None):
        path = output / CASES / f"{file_name(case.case_id)}.h5"
        try:
            own = _case_inputs(explainer, case, common)
            found = read_case(path, inputs=own)
            if found is None:
                found = explainer.of(case)
                write_case(path, found, inputs=own)
        except (SafetyError, ResourceError):
            raise
        except GimpError as error:
            told = without_paths(str(error), [bag.path for bag in case.bags])
            failures.append(Failure(case.case_id, "explain", type(error).__name__, told))
            logger.warning("case %r is left out: %s", case.case_id, error)
            continue
        yield case, found


def without_paths(text: str, paths: Sequence[Path]) -> str:
    """Message with the names of files only: folders may bear the name of a patient."""
    for path in paths:
        for shown in (str(path.absolute()), str(path)):
            text = text.replace(shown, path.name)
    return text


def _case_inputs(explainer: Explainer, case: Case, common: str) -> str:
    """Hash of all that decides the result of one case."""
    genes = explainer.inputs.main.genes_of(case)
    truth = None
    if explainer.truth is not None:
        paths = [truth_path(explainer.truth, bag.slide_id) for bag in case.bags]
        truth = [None if path is None else sha256_file(path) for path in paths]
    values = None if genes is None else hashlib.sha256(genes.cpu().numpy().tobytes()).hexdigest()
    bags = [[bag.slide_id, bag.file_sha256] for bag in case.bags]
    return sha256_json([common, case.case_id, bags, values, truth])


def _check_beside(beside: Beside, inputs: Inputs) -> dict[str, Path]:
    """Check what stands beside the cases; give the slides by slide_id."""
    bags = [bag for case in inputs.cases for bag in case.bags]
    if beside.site_key and beside.site_key not in inputs.study.obs:
        known = list(map(str, inputs.study.obs.columns))
        problem = f"the cohort has no column {beside.site_key!r}{did_you_mean(beside.site_key, known)}"
        raise CohortError(problem, hint=f"it has {listed(known)}")
    if beside.gene_sets is not None:
        from gimp_plugin.cohort.grouping.gene_sets import read_gmt

        read_gmt(beside.gene_sets)
    if beside.truth is not None:
        check_truth(beside.truth, bags)
    if (beside.truth or beside.slides) and not inputs.main.record.config.model.has_slides:
        problem = f"run {str(inputs.main.record.path)!r} was trained on genes only"
        raise CheckpointError(problem, hint="leave --slides and --truth out")
    if not beside.slides:
        return {}
    wanted = {bag.slide_id for bag in bags}
    found = {one.slide_id: one.path for one in find_slides(beside.slides)}
    slides = {name: path for name, path in found.items() if name in wanted}
    if not slides:
        problem = f"{listed(map(str, beside.slides))} holds none of {len(wanted)} slides"
        raise MissingFileError(problem, hint=f"expected for instance {listed(sorted(wanted), limit=2)}")
    return slides


def _made_from(
    inputs: Inputs,
    config: ExplainConfig,
    runtime: Runtime,
    beside: Beside,
    slides: Mapping[str, Path],
) -> dict[str, Any]:
    """What decides an explanation: hashes and settings, no path."""
    settings = config.to_dict()
    drawn = {name: settings.pop(name) for name in ("top", "formats")}
    skipped = settings.pop("skip")
    computed = ("genes", "occlusion", "faithfulness")
    settings["skip"] = sorted(name for name in skipped if name in computed)
    drawn["skip"] = sorted(name for name in skipped if name not in computed)
    truth = None
    if beside.truth is not None:
        paths = [truth_path(beside.truth, bag.slide_id) for case in inputs.cases for bag in case.bags]
        truth = sha256_json([None if path is None else sha256_file(path) for path in paths])
    return {
        "models": [[one.sha256, one.record.temperature] for one in inputs.models],
        "inputs": inputs.study.fingerprint(),
        "cases": sha256_json([case.case_id for case in inputs.cases]),
        "settings": settings,
        "drawn": drawn,
        "seed": runtime.seed,
        "truth": truth,
        "gene_sets": None if beside.gene_sets is None else sha256_file(beside.gene_sets),
        "site_key": beside.site_key,
        "slides": sha256_json([[name, slides[name].stat().st_size] for name in sorted(slides)]),
        "excluded": sha256_json(
            [[one.case_id, one.slide_id, one.step, one.reason] for one in inputs.exclusions]
        ),
    }


def _files(inputs: Inputs, kept: SlideFiles) -> list[str]:
    """Every file that may be written, but for the record."""
    pictures = [
        f"{stem}.{kind}"
        for stem in (tables.TOP_PLOT, "embedding_tsne", "embedding_umap")
        for kind in ("svg", "png")
    ]
    named = (tables.CASES, tables.MODALITIES, tables.FAITHFULNESS, tables.SUMMARY, tables.GENES)
    named += (tables.TOP_GENES, tables.GROUPS, tables.SETS, embedding.FILE, FAILURES, EXCLUSIONS)
    cases = [f"{CASES}/{file_name(case.case_id)}.h5" for case in inputs.cases]
    slides = [
        name for case in inputs.cases for bag in case.bags for name in kept.names(bag.slide_id)
    ]
    return [*named, *pictures, *cases, *slides]


def _write_tables(
    output: Path,
    results: tables.Results,
    inputs: Inputs,
    config: ExplainConfig,
    runtime: Runtime,
    beside: Beside,
) -> None:
    """Write what speaks of all cases."""
    tables.write_cases(output / tables.CASES, results, inputs)
    if not tables.write_modalities(output / tables.MODALITIES, results, inputs):
        text = "no case and run have both halves and can do without each: no %s"
        logger.info(text, tables.MODALITIES)
    if "genes" not in config.skip:
        tables.write_genes(output, results, inputs, gene_sets=beside.gene_sets)
    if any(result.metrics for _, result in results):
        tables.write_faithfulness(output, results, inputs, seed=runtime.seed)
    embedding.write_embeddings(
        output,
        results,
        inputs,
        kinds=[kind for kind in (embedding.TSNE, embedding.UMAP) if kind not in config.skip],
        site_key=beside.site_key,
        seed=runtime.seed,
    )
