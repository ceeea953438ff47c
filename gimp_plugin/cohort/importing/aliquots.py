"""The choice of the sample for each case, by the rule for TCGA and the user's options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gimp_plugin.cohort.ids import tcga_aliquot
from gimp_plugin.cohort.importing import sheets
from gimp_plugin.cohort.importing.report import Count, left_out
from gimp_plugin.cohort.importing.rules import ALL, ERROR, FIRST, PRIMARY, ImportRules
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.errors import CohortError, counted, listed
from gimp_plugin.storage.tables import Exclusion

SAMPLE_TYPES = {
    1: "Primary Tumor",
    2: "Recurrent Tumor",
    3: "Primary Blood Derived Cancer - Peripheral Blood",
    5: "Additional - New Primary",
    6: "Metastatic",
    7: "Additional Metastatic",
    9: "Primary Blood Derived Cancer - Bone Marrow",
    10: "Blood Derived Normal",
    11: "Solid Tissue Normal",
    12: "Buccal Cell Normal",
    14: "Bone Marrow Normal",
    20: "Control Analyte",
}
"""Sample codes of TCGA."""

_BY_SAMPLE = ("sample_id", "aliquot", sheets.SAMPLE)
_BY_FILE = ("file", sheets.FILE_NAME)
_CODES = {name.lower(): code for code, name in SAMPLE_TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of a source.

    Parameters
    ----------
    row
        Row of the sample in the source.
    sample_id, case_id
        Name of the sample, and its case.
    facts
        What a sample sheet says of it.
    """

    row: int
    sample_id: str
    case_id: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> int | None:
        """TCGA sample code, from the barcode or the sample type; None if neither tells."""
        aliquot = tcga_aliquot(self.sample_id)
        if aliquot is not None and aliquot.code is not None:
            return aliquot.code
        named = _CODES.get(str(self.facts.get(sheets.SAMPLE_TYPE, "")).lower())
        return named if named is not None else _code_of_tissue(self.facts)

    @property
    def is_ffpe(self) -> bool:
        """Whether the source says that the sample was fixed in formalin."""
        return "FFPE" in str(self.facts.get(sheets.PRESERVATION, "")).upper()


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """Samples chosen for the cases, and why the others were left out."""

    by_case: dict[str, list[Sample]]
    counts: tuple[Count, ...]
    left_out: tuple[Exclusion, ...]


def choose_samples(samples: Sequence[Sample], rules: ImportRules) -> Choice:
    """Choose the samples for the cases.

    Normal tissue and controls are left out, then whatever is not the primary tumour, then FFPE. Of
    the remaining samples of a case, the lowest sample code, the first vial and the highest plate
    win.

    Parameters
    ----------
    samples
        All samples of the source.
    rules
        The user's `samples`, `keep_ffpe`, `aliquots` and `duplicate_cases`.

    Returns
    -------
    One sample per case, or several if they are to be averaged.

    Raises
    ------
    CohortError
        If no sample is left, or the rules do not decide between several samples of a case.
    """
    counts: list[Count] = []
    out: list[Exclusion] = []

    def keep(rule: str, reasons: Mapping[int, str]) -> list[Sample]:
        kept = [sample for sample in samples if sample.row not in reasons]
        gone = (sample for sample in samples if sample.row in reasons)
        out.extend(
            left_out(one.case_id, rule, f"{one.sample_id}: {reasons[one.row]}") for one in gone
        )
        counts.append(Count(rule, "samples", len(samples), len(kept)))
        if not kept:
            hint = "give --samples all or --keep-ffpe, if that is what you want"
            raise CohortError(
                f"no sample is left after the rule {rule!r}: {out[-1].reason}", hint=hint
            )
        return kept

    if rules.samples != ALL:
        samples = keep("no normal tissue", _normal(samples))
        primary = rules.samples == PRIMARY
        samples = keep("primary tumour" if primary else "tumour", _not_tumour(samples, primary))
    if not rules.keep_ffpe:
        samples = keep("not FFPE", {one.row: "FFPE" for one in samples if one.is_ffpe})
    if rules.aliquots is not None:
        samples = keep("listed in --aliquots", _not_listed(samples, rules.aliquots))
    samples = keep("first vial, highest plate", _beaten(samples))
    samples = keep("one sample a case", _surplus(samples, rules.duplicate_cases))
    by_case: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda one: (one.case_id, one.row)):
        by_case.setdefault(sample.case_id, []).append(sample)
    return Choice(by_case=by_case, counts=tuple(counts), left_out=tuple(out))


def _code_of_tissue(facts: Mapping[str, str]) -> int | None:
    """Sample code from the columns that newer sample sheets have instead of the sample type."""
    tissue = str(facts.get(sheets.TISSUE, "")).lower()
    if tissue == "normal":
        return 11
    descriptor = str(facts.get(sheets.DESCRIPTOR, "")).lower()
    codes = {"primary": 1, "recurrence": 2, "metastatic": 6, "new primary": 5}
    return codes.get(descriptor) if tissue == "tumor" else None


def _normal(samples: Iterable[Sample]) -> dict[int, str]:
    """Samples of normal tissue and controls."""
    coded = ((one.row, one.code) for one in samples)
    return {
        row: f"{'normal tissue' if code < 20 else 'control'} (sample code {code})"
        for row, code in coded
        if code is not None and 10 <= code <= 29
    }


def _not_tumour(samples: Iterable[Sample], primary: bool) -> dict[int, str]:  # noqa: FBT001  # a rule
    """Samples that are not of a tumour, or not of the primary one; unknown codes are kept."""
    last = 1 if primary else 9
    coded = ((one.row, one.code) for one in samples)
    return {
        row: f"sample code {code:02d} ({SAMPLE_TYPES.get(code, 'other')})"
        for row, code in coded
        if code is not None and not 1 <= code <= last
    }


def _not_listed(samples: Sequence[Sample], path: Path) -> dict[int, str]:
    """Samples that the user's list omits although it names their case."""
    rows = read_rows(path)
    column = next((name for name in (*_BY_SAMPLE, *_BY_FILE) if name in rows[0]), "")
    if not column:
        raise CohortError(f"{str(path)!r} has no column 'sample_id', only {listed(rows[0])}")
    chosen = {row[column].removesuffix(".gz") for row in rows}
    names = {
        one.row: str(one.facts.get("file", "")).removesuffix(".gz")
        if column in _BY_FILE
        else one.sample_id
        for one in samples
    }
    unknown = chosen - set(names.values())
    if unknown:
        problem = f"{str(path)!r} names {len(unknown)} samples that do not exist or were left out"
        raise CohortError(f"{problem}: {listed(sorted(unknown))}")
    cases = {one.case_id for one in samples if names[one.row] in chosen}
    return {
        one.row: "another sample of the case is listed"
        for one in samples
        if one.case_id in cases and names[one.row] not in chosen
    }


def _beaten(samples: Iterable[Sample]) -> dict[int, str]:
    """Samples for which the same TCGA case has a better one."""
    best: dict[str, tuple[int, str, str]] = {}
    ranked = [(one, _rank(one)) for one in samples]
    for sample, rank in ranked:
        if rank is not None:
            held = best.get(sample.case_id)
            best[sample.case_id] = rank if held is None else _better(rank, held)
    return {
        sample.row: "another sample of the case has an earlier vial or a higher plate"
        for sample, rank in ranked
        if rank is not None and rank != best[sample.case_id]
    }


def _rank(sample: Sample) -> tuple[int, str, str] | None:
    """Sample code, vial and plate, or None if the name is not a barcode."""
    aliquot = tcga_aliquot(sample.sample_id)
    if aliquot is None:
        return None
    return aliquot.code or 0, aliquot.vial, aliquot.plate


def _better(one: tuple[int, str, str], other: tuple[int, str, str]) -> tuple[int, str, str]:
    """Return the one with the lower code and vial; if equal, the one with the higher plate."""
    if one[:2] != other[:2]:
        return min(one, other, key=lambda rank: rank[:2])
    return max(one, other, key=lambda rank: rank[2])


def _surplus(samples: Sequence[Sample], how: str) -> dict[int, str]:
    """Samples after the first of a case if the first is wanted; else refuse several of a case."""
    seen: dict[str, Sample] = {}
    more: dict[str, list[Sample]] = {}
    for sample in samples:
        if seen.setdefault(sample.case_id, sample) is not sample:
            more.setdefault(sample.case_id, []).append(sample)
    if more and how == ERROR:
        case_id, others = next(iter(more.items()))
        same = listed([seen[case_id].sample_id, *(one.sample_id for one in others)])
        told = counted(len(more), "case has", "cases have")
        problem = f"{told} several samples: {listed(more)}; {case_id!r} has {same}"
        hint = (
            "name the cases by --case-key, list the samples to take in --aliquots FILE, or give "
            "--duplicate-cases first or mean; GDC metadata as --sample-sheet gives the plates"
        )
        raise CohortError(problem, hint=hint)
    if how != FIRST:
        return {}
    return {one.row: "not the first of the case" for rest in more.values() for one in rest}
