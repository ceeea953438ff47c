"""Explain runs and cases in a folder: maps, genes, halves, and tests of their faithfulness."""

from __future__ import annotations

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
    GimpError,
    PairingError,
    ResourceError,
    SafetyError,
)
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.storage.atomic import sha256_json
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.tables import (
    EXCLUSIONS,
    FAILURES,
    Failure,
    write_exclusions,
    write_failures,
)
from gimp_plugin.studies.explanation import embedding, gene_tables, tables
from gimp_plugin.studies.explanation.beside import Beside, check_beside
from gimp_plugin.studies.explanation.compute import Explainer
from gimp_plugin.studies.explanation.folder import LOCK, check_folder, claim, finish
from gimp_plugin.studies.explanation.identity import SHARED, case_inputs, made_from
from gimp_plugin.studies.explanation.inputs import Inputs, read_inputs
from gimp_plugin.studies.explanation.names import file_name, without_paths
from gimp_plugin.studies.explanation.results import CaseResult, read_case, write_case
from gimp_plugin.studies.explanation.slides import Writer
from gimp_plugin.studies.explanation.writing import SlideFiles, slide_files

logger = logging.getLogger(__name__)

CASES = "cases"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Result of an explanation.

    Parameters
    ----------
    path
        The folder.
    outcome
        `done`, or `nothing to do`.
    n_cases
        Number of cases that were explained.
    failures
        Cases and slides that failed.
    """

    path: Path
    outcome: str
    n_cases: int
    failures: tuple[Failure, ...] = ()


def explain(
    runs: Sequence[Path],
    source: CohortSource,
    *,
    output: Path,
    config: ExplainConfig,
    runtime: Runtime,
    beside: Beside | None = None,
    writers: Mapping[str, tuple[str, Writer]] | None = None,
) -> Explanation:
    """Explain the predictions of a run.

    Each case is explained alone and stored as soon as it is done, so an interrupted command can
    resume. Ranks among all cases, and all pictures, are made at the end.

    Parameters
    ----------
    runs
        Fine-tuned runs; the first is explained, the others are compared with it.
    source
        Where the cases are; fields that are None are taken from the run.
    output
        The folder to write.
    config
        Settings of the explanation.
    runtime
        Device and seed; the precision is float32.
    beside
        Slides, truth, gene sets.
    writers
        Suffix and writer of patches, by name in `ExplainConfig.formats`.

    Returns
    -------
    The result.

    Raises
    ------
    GimpError
        If a run, the cases, or the inputs in `beside` cannot be used.
    StaleOutputError
        If `output` explains something else.
    """
    beside = beside or Beside()
    device = device_of(runtime)
    inputs = read_inputs(runs, source, config=config, device=device)
    slides = check_beside(beside, inputs)
    explainer = Explainer(
        inputs=inputs, config=config, truth=beside.truth, seed=runtime.seed, device=device
    )
    made = made_from(inputs, config, runtime, beside, slides=slides)
    formats = {name: pair for name, pair in (writers or {}).items() if name in config.formats}
    kept = SlideFiles(
        folder=output,
        config=config,
        writers=formats,
        slides=slides,
        with_slides=bool(beside.slides),
    )
    files = _files(inputs, kept)
    check_folder(output, made, overwrite=runtime.overwrite)
    with held(output / LOCK):
        check_folder(output, made, overwrite=runtime.overwrite)
        if not claim(output, made, files):
            logger.info("%s is complete and current: nothing to do", output)
            return Explanation(output, "nothing to do", len(inputs.cases))
        failures: list[Failure] = []
        results = list(_results(explainer, output, made, failures))
        if not results:
            write_failures(output, failures)
            problem = f"none of {len(inputs.cases)} cases could be explained"
            raise PairingError(problem, hint=f"{str(output / FAILURES)!r} says why")
        _write_tables(output, results, explainer, beside)
        with ExitStack() as stack:
            readers = stack.enter_context(SlideReaders()) if kept.needs_readers else None
            failures += slide_files(kept, results, inputs, readers)
        write_failures(output, failures)
        write_exclusions(output, inputs.exclusions)
        finish(output, made, files, complete=not failures)
    return Explanation(output, "done", len(results), tuple(failures))


def _results(
    explainer: Explainer, output: Path, made: dict[str, Any], failures: list[Failure]
) -> Iterator[tuple[Case, CaseResult]]:
    """Each case with its computed or stored result; a failure does not stop the others."""
    cases = explainer.inputs.cases
    common = sha256_json({key: made[key] for key in SHARED})
    for case in tqdm(cases, desc="explain", disable=None):
        path = output / CASES / f"{file_name(case.case_id)}.h5"
        try:
            own = case_inputs(explainer, case, common)
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


def _files(inputs: Inputs, kept: SlideFiles) -> list[str]:
    """Every file that may be written, except the record."""
    pictures = [
        f"{stem}.{kind}"
        for stem in (gene_tables.TOP_PLOT, "embedding_tsne", "embedding_umap")
        for kind in ("svg", "png")
    ]
    named = [tables.CASES, tables.MODALITIES, tables.FAITHFULNESS, tables.SUMMARY]
    named += [gene_tables.GENES, gene_tables.TOP_GENES, gene_tables.GROUPS, gene_tables.SETS]
    named += [gene_tables.OTHERS, embedding.FILE, embedding.POINTS, FAILURES, EXCLUSIONS]
    cases = [f"{CASES}/{file_name(case.case_id)}.h5" for case in inputs.cases]
    slides = [
        name for case in inputs.cases for bag in case.bags for name in kept.names(bag.slide_id)
    ]
    return [*named, *pictures, *cases, *slides]


def _write_tables(
    output: Path, results: tables.Results, explainer: Explainer, beside: Beside
) -> None:
    """Write the tables of all cases."""
    inputs, skip, seed = explainer.inputs, explainer.config.skip, explainer.seed
    tables.write_cases(output / tables.CASES, results, inputs)
    if not tables.write_modalities(output / tables.MODALITIES, results, inputs):
        text = "no case has both halves, or the run needs both: no %s"
        logger.info(text, tables.MODALITIES)
    if "genes" not in skip:
        gene_tables.write_genes(output, results, inputs, gene_sets=beside.gene_sets)
    if any(result.metrics for _, result in results):
        tables.write_faithfulness(output, results, inputs, seed=seed)
    if not all(result.embedding.size for _, result in results):
        logger.info("a system has no embedding: no %s", embedding.FILE)
        return
    kinds = [kind for kind in (embedding.TSNE, embedding.UMAP) if kind not in skip]
    embedding.write_embeddings(
        output, results, inputs, kinds=kinds, site_key=beside.site_key, seed=seed
    )
