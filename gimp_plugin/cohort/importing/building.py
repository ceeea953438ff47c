"""Apply the rules of an import in order: samples, cases, genes, values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin.cohort.importing import cleaning
from gimp_plugin.cohort.importing.aliquots import Sample, choose_samples
from gimp_plugin.cohort.importing.gene_tables import annotate
from gimp_plugin.cohort.importing.genes import GenePlan, plan_genes
from gimp_plugin.cohort.importing.naming import case_names, fulfils, joined, read_clinical, typed
from gimp_plugin.cohort.importing.report import Count, left_out
from gimp_plugin.cohort.importing.rules import PER_ALIQUOT, ImportRules
from gimp_plugin.cohort.importing.sheets import PRESERVATION, PROJECT
from gimp_plugin.cohort.importing.source import Source
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.names import doubtful_names
from gimp_plugin.cohort.scales import STANDARDISED
from gimp_plugin.cohort.values import Table, resolve_scale
from gimp_plugin.errors import CohortError, did_you_mean, listed
from gimp_plugin.keys import CASE_ID, LABEL, SLIDE_ID
from gimp_plugin.storage.tables import Exclusion

logger = logging.getLogger(__name__)

SAMPLE_ID = "sample_id"
_STANDARDISED = "%s is standardised: values that were scaled within a class or a cohort reveal it"

ByCase = dict[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Log:
    """What the rules have done so far; each adds to it."""

    counts: list[Count] = field(default_factory=list)
    left_out: list[Exclusion] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """Tell the user, and keep the text for the record."""
        logger.warning("%s", text)
        self.warnings.append(text)


@dataclass(frozen=True, eq=False, kw_only=True)
class Built:
    """A cohort in memory and how it came about."""

    values: NDArray[np.float32]
    obs: pd.DataFrame
    var: pd.DataFrame
    scale: str
    scale_guessed: bool
    log: Log


def build_cohort(source: Source, rules: ImportRules) -> Built:
    """Apply all rules to a source.

    Parameters
    ----------
    source
        Samples, genes and their values.
    rules
        The user's rules.

    Returns
    -------
    The cohort, its cases sorted by name.

    Raises
    ------
    CohortError
        If a rule cannot decide, or leaves nothing.
    """
    log = Log([*source.counts], [*source.left_out])
    for warning in source.warnings:
        log.tell(warning)
    by_case, obs = _cases(source, rules, log)
    plan = plan_genes(source.genes, rules, where=source.where)
    log.counts.extend(plan.counts)
    for doubt in doubtful_names(plan.genes.index.tolist()):
        log.tell(f"{source.where}: {doubt} (if a column is not a gene, name it with --obs-column)")
    raw = _read(source, plan, by_case)
    kept = _without_missing(raw, rules, log)
    declared = rules.scale or source.scale
    scale = _scale(kept.table(source.where), declared, source, log)
    values = kept.combined(plan, scale, log)
    cases, var = raw.kept_cases(kept), plan.genes[kept.genes]
    if rules.gene_table is not None:
        var, described = annotate(var, rules.gene_table)
        log.counts.append(described)
    text_columns = (LABEL, rules.label_key or "", SAMPLE_ID, CASE_ID, SLIDE_ID, PROJECT)
    return Built(
        values=values,
        obs=typed(obs[cases], as_text=text_columns),
        var=var,
        scale=scale,
        scale_guessed=declared is None,
        log=log,
    )


def _cases(source: Source, rules: ImportRules, log: Log) -> tuple[ByCase, pd.DataFrame]:
    """Samples of each case, and what is known of the cases."""
    clinical = read_clinical(rules.labels, rules) if rules.labels is not None else {}
    columns = list(next(iter(clinical.values()))) if clinical else []
    names = case_names(source, rules, clinical=columns)
    choice = choose_samples(_samples(source, names), rules)
    log.counts.extend(choice.counts)
    log.left_out.extend(choice.left_out)
    if source.format in PER_ALIQUOT and not rules.keep_ffpe:
        _tell_of_silence(choice.by_case, log)
    obs = _table_of_cases(source, choice.by_case)
    if clinical:
        obs = joined(obs, list(choice.by_case), clinical)
    obs = _labelled(obs, rules.label_key or source.label_key, log)
    obs = _filtered(obs, rules.obs_filters, log)
    return {case_id: choice.by_case[case_id] for case_id in obs.index}, obs


def _tell_of_silence(by_case: ByCase, log: Log) -> None:
    """Warn of cases for which no sheet says whether their sample is FFPE."""
    silent = [
        case_id
        for case_id, samples in by_case.items()
        if not all(one.facts.get(PRESERVATION) for one in samples)
    ]
    if silent:
        text = (
            f"for {len(silent)} of {len(by_case)} cases no sample sheet says if the sample is FFPE"
        )
        where = "newer sample sheets of the GDC have the column"
        log.tell(f"{text}, so they stay: {listed(silent, limit=3)} ({where} {PRESERVATION!r})")


def _samples(source: Source, names: Sequence[str]) -> list[Sample]:
    """All samples, with what a sheet says of each."""
    facts = source.obs.to_dict("records") if len(source.obs.columns) else [{}] * len(names)
    rows = zip(source.sample_ids, names, facts, strict=True)
    return [
        Sample(
            row=row,
            sample_id=sample_id,
            case_id=case_id,
            facts={str(name): cell for name, cell in told.items()},
        )
        for row, (sample_id, case_id, told) in enumerate(rows)
    ]


def _table_of_cases(source: Source, by_case: ByCase) -> pd.DataFrame:
    """What the source says of the chosen samples, one row per case."""
    rows = [samples[0].row for samples in by_case.values()]
    obs = source.obs.iloc[rows].astype(object)
    obs.index = pd.Index(list(by_case), dtype=object)
    if SAMPLE_ID not in obs:
        joint = [";".join(one.sample_id for one in samples) for samples in by_case.values()]
        obs.insert(0, SAMPLE_ID, joint)
    return obs


def _labelled(obs: pd.DataFrame, key: str | None, log: Log) -> pd.DataFrame:
    """Copy the column with the class to `label`; count the cases that have one."""
    if key is None:
        return obs
    if key not in obs:
        columns = [str(name) for name in obs.columns]
        problem = f"no column {key!r} in the source or the table of --labels"
        hint = f"give --label-key, one of {listed(columns, limit=9)}"
        raise CohortError(f"{problem}{did_you_mean(key, columns)}", hint=hint)
    cells = ["" if is_missing(cell) else text_of(cell).strip() for cell in obs[key].tolist()]
    if key == PROJECT:
        cells = [cell.removeprefix("TCGA-") for cell in cells]
    bare = [name for name, cell in zip(obs.index, cells, strict=True) if not cell]
    count = Count("with a label (others stay)", "cases", len(cells), len(cells) - len(bare))
    log.counts.append(count)
    if bare:
        text = f"{len(bare)} of {len(cells)} cases have no label in {key!r}: {listed(bare)}"
        log.tell(f"{text} (leave them out with --obs-filter '{LABEL}!=')")
    return obs.assign(**{LABEL: pd.Series(cells, index=obs.index, dtype=object)})


def _filtered(obs: pd.DataFrame, conditions: Sequence[str], log: Log) -> pd.DataFrame:
    """Cases that fulfil all conditions."""
    for condition in conditions:
        rule, kept = f"--obs-filter {condition}", fulfils(obs, condition)
        gone = [case_id for case_id, stays in zip(obs.index, kept, strict=True) if not stays]
        log.left_out.extend(left_out(case_id, rule, "does not fulfil it") for case_id in gone)
        log.counts.append(Count(rule, "cases", len(obs), sum(kept)))
        obs = obs[kept]
        if obs.empty:
            raise CohortError(f"no case is left after {rule!r}")
    return obs


@dataclass(frozen=True, eq=False, kw_only=True)
class _Raw:
    """Values as read; a case may have several rows, and a gene several columns."""

    matrix: NDArray[np.float32]
    cases: list[str]
    sizes: NDArray[np.int64]
    ids: list[str]
    lengths: NDArray[np.int64]
    genes: NDArray[np.bool_]
    where: str

    def table(self, where: str) -> Table:
        """Values with a name for each row and column."""
        return Table(
            values=self.matrix,
            case_ids=np.repeat(self.cases, self.sizes).tolist(),
            gene_ids=np.repeat(self.ids, self.lengths).tolist(),
            where=where,
        )

    def kept_cases(self, kept: _Raw) -> list[bool]:
        """Whether each of these cases is still there."""
        left = set(kept.cases)
        return [case_id in left for case_id in self.cases]

    def combined(self, plan: GenePlan, scale: str, log: Log) -> NDArray[np.float32]:
        """Combine the values to one row per case and one column per gene."""
        values = self.matrix
        if plan.combines:
            starts = np.cumsum([0, *self.lengths[:-1]])
            values = cleaning.one_column_a_gene(values, starts, how=plan.how, scale=scale)
        if self.sizes.max() > 1:
            log.counts.append(Count("mean of a case", "samples", len(values), len(self.sizes)))
            starts = np.cumsum([0, *self.sizes[:-1]])
            values = cleaning.one_row_a_case(values, starts, scale=scale)
        return values


def _read(source: Source, plan: GenePlan, by_case: ByCase) -> _Raw:
    """Read the values of the cases, sorted by name, and the genes."""
    rows = [sample.row for samples in by_case.values() for sample in samples]
    return _Raw(
        matrix=source.read(rows, plan.columns),
        cases=list(by_case),
        sizes=np.array([len(samples) for samples in by_case.values()], dtype=np.int64),
        ids=plan.genes.index.tolist(),
        lengths=np.diff([*plan.starts.tolist(), len(plan.columns)]).astype(np.int64),
        genes=np.ones(len(plan.genes), dtype=bool),
        where=source.where,
    )


def _without_missing(raw: _Raw, rules: ImportRules, log: Log) -> _Raw:
    """Apply `--impute`; a case or gene is dropped if any of its rows or columns is."""
    rows, columns, count = cleaning.missing_values(raw.table(raw.where), rules.impute)
    if count:
        n_values = raw.matrix.size
        log.counts.append(Count("present values", "values", n_values, n_values - count))
    cases = np.logical_and.reduceat(rows, np.cumsum([0, *raw.sizes[:-1]]))
    genes = np.logical_and.reduceat(columns, np.cumsum([0, *raw.lengths[:-1]]))
    rule = f"--impute {rules.impute}"
    for unit, kept in (("cases", cases), ("genes", genes)):
        if not kept.all():
            log.counts.append(Count(rule, unit, len(kept), int(kept.sum())))
    names = [name for name, stays in zip(raw.cases, cases, strict=True) if not stays]
    log.left_out.extend(left_out(name, rule, "has a missing value") for name in names)
    values = raw.matrix if cases.all() else raw.matrix[np.repeat(cases, raw.sizes)]
    return _Raw(
        matrix=cleaning.without_columns(values, np.repeat(genes, raw.lengths)),
        cases=[name for name, stays in zip(raw.cases, cases, strict=True) if stays],
        sizes=raw.sizes[cases],
        ids=[name for name, stays in zip(raw.ids, genes, strict=True) if stays],
        lengths=raw.lengths[genes],
        genes=genes,
        where=raw.where,
    )


def _scale(table: Table, declared: str | None, source: Source, log: Log) -> str:
    """Scale of the values; warn of what the user must know about it."""
    scale, warnings = resolve_scale(table, declared)
    if scale == STANDARDISED and not source.warnings:
        warnings = [*warnings, _STANDARDISED % source.where]
    for warning in warnings:
        log.tell(warning)
    return scale
