"""Match slides whose spelling in a table differs from their file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from gimp_plugin.cohort.ids import tcga_slide_kind
from gimp_plugin.errors import PairingError, listed

SLIDE_SUFFIXES = (
    ".ome.tiff", ".ome.tif", ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms",
    ".vmu", ".svslide", ".qptiff", ".jp2", ".dcm", ".png", ".jpg", ".jpeg",
)  # fmt: skip
"""Same as `slides.finding.NAMED_SUFFIXES`, which this package may not import."""

LESS_SUFFIX = "less the slide suffix"
LESS_UUID = "by the TCGA name that one slide begins with"


def without_suffix(name: str) -> str:
    """Return the name of a slide without its slide suffix.

    Returns
    -------
    The name without suffix; any other name as it is.

    Examples
    --------
    >>> without_suffix("B12.3.SVS"), without_suffix("B12.3")
    ('B12.3', 'B12.3')
    """
    lower = name.lower()
    suffix = next((suffix for suffix in SLIDE_SUFFIXES if lower.endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name


def spelled_as_slides(
    names: Collection[str], slide_ids: Collection[str], *, where: str
) -> tuple[dict[str, str], list[str]]:
    """Find the slide that each name of a table means.

    That is the slide of the same name, else of the name without its slide suffix, else the only
    slide whose TCGA name consists of it and a uuid.

    Parameters
    ----------
    names
        Slides as spelled in a table.
    slide_ids
        Slides that have features.
    where
        Name of the table, for messages.

    Returns
    -------
    Slide by name (a name without a slide is returned without its suffix), and a warning if any
    name differs from its slide.

    Raises
    ------
    PairingError
        If a TCGA name without uuid could mean several slides.
    """
    known = set(slide_ids)
    by_start = _slides_by_start(known)
    found: dict[str, str] = {}
    rules: Counter[str] = Counter()
    for name in names:
        bare = without_suffix(name)
        candidates = by_start.get(bare, [])
        if name in known:
            found[name] = name
        elif bare in known:
            found[name] = bare
            rules[LESS_SUFFIX] += 1
        elif len(candidates) > 1:
            problem = f"{where}: {name!r} matches several slides: {listed(sorted(candidates))}"
            raise PairingError(problem, hint="write the names in full, with their UUID")
        elif candidates:
            found[name] = candidates[0]
            rules[LESS_UUID] += 1
        else:
            found[name] = bare
    return found, _warned(rules, len(found), where)


def _slides_by_start(slide_ids: Collection[str]) -> Mapping[str, list[str]]:
    """TCGA slides by the part of their names before the first full stop."""
    starts: dict[str, list[str]] = {}
    for slide_id in slide_ids:
        start, stop, _ = slide_id.partition(".")
        if stop and tcga_slide_kind(start):
            starts.setdefault(start, []).append(slide_id)
    return starts


def _warned(rules: Counter[str], n_names: int, where: str) -> list[str]:
    """Say which rules were used, and for how many names."""
    if not rules:
        return []
    parts = ", ".join(f"{count} {rule}" for rule, count in sorted(rules.items()))
    return [f"of {n_names} slides that {where} names, some were found under another name: {parts}"]
