"""Everything that a stage needs to know about its cases, checked before any work begins."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin import keys
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.names import other_names
from gimp_plugin.cohort.pairing import Pairing, apply_missing, pair
from gimp_plugin.config import CohortSource
from gimp_plugin.config.sources import DEFAULTS
from gimp_plugin.data.cases import UNKNOWN, Case
from gimp_plugin.data.known import known_cases
from gimp_plugin.data.left_out import without_anything, without_label
from gimp_plugin.data.twins import warn_of_twins
from gimp_plugin.data.views import warn_of_mixed_views
from gimp_plugin.errors import BagError, PairingError, SafetyError, counted, listed
from gimp_plugin.storage.atomic import sha256_json
from gimp_plugin.storage.bags import BagInfo, scan_bags
from gimp_plugin.storage.tables import Exclusion

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PATHS = {"adata", "labels", "features", "slide_table"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The cases of a stage and what is known about them.

    Parameters
    ----------
    cohort
        The expression cohort, with 0 genes if there is none.
    obs
        Data about the cases, from the cohort and the table of labels.
    labels
        Class name of each case that has one; every used case has one unless unlabelled cases or a
        prediction were asked for.
    cases
        The cases that are used, in the order of the cohort, without class indices.
    feature_dim, encoder
        Dimension and encoder of the bags; 0 and empty if no case has slides.
    exclusions
        What was left out, and why.
    """

    cohort: Cohort
    obs: pd.DataFrame
    labels: dict[str, str]
    cases: tuple[Case, ...]
    feature_dim: int
    encoder: str
    exclusions: tuple[Exclusion, ...]

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Ids of the cases that are used."""
        return tuple(case.case_id for case in self.cases)

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Ids of the used cases that have no class."""
        return tuple(case_id for case_id in self.case_ids if case_id not in self.labels)

    def with_classes(self, classes: Sequence[str]) -> tuple[Case, ...]:
        """Give the cases with their labels as class indices; -1 without a label."""
        index = {name: number for number, name in enumerate(classes)}
        return tuple(
            replace(case, label=index.get(self.labels.get(case.case_id, ""), UNKNOWN))
            for case in self.cases
        )

    def fingerprint(self) -> dict[str, str]:
        """Hashes of everything that the result depends on: expression, labels, bags and cases."""
        expression, values = hashlib.sha256(), self.cohort.values  # noqa: PD011  # an array
        for case in self.cases:  # one at a time: a copy would double the memory
            if case.has_genes:
                expression.update(values[case.gene_row].tobytes())
        known: list[object] = [self.cohort.gene_ids, self.cohort.scale]
        names = other_names(self.cohort.genes)  # genes are matched by these, too
        expression.update(sha256_json([*known, names] if any(names) else known).encode())
        bags = {
            case.case_id: [[bag.slide_id, bag.fingerprint] for bag in case.bags]
            for case in self.cases
        }
        return {
            "expression": expression.hexdigest(),
            "labels": sha256_json({case: self.labels.get(case) for case in self.case_ids}),
            "bags": sha256_json(bags),
        }


def prepare(
    source: CohortSource,
    *,
    modalities: str = keys.BOTH,
    labelled: bool = True,
    unlabelled: bool = False,
    cohort: Cohort | None = None,
    bags: Mapping[str, BagInfo] | None = None,
) -> Study:
    """Read a cohort, find its bags and match both.

    Parameters
    ----------
    source
        Where everything is; fields that are None take their default.
    modalities
        Halves of the model; bags are not looked for if it reads no slides.
    labelled
        Whether labels are needed; cases without one are then left out.
    unlabelled
        Whether to keep cases without a label even so, if `source.unlabelled` is `use`.
    cohort
        Cohort to use instead of reading `source.adata`; its labels are ignored.
    bags
        Bags by slide_id, to use instead of reading the folder `source.features`.

    Returns
    -------
    The cases.

    Raises
    ------
    ConfigError
        If genes or labels are needed and no file for them is given.
    CohortError
        If the cohort is not valid.
    PairingError
        If nothing can be paired, or `missing` is `error` and something cannot.
    BagError
        If bags of different encoders or dimensions are mixed.
    """
    source = with_defaults(source)
    labels: dict[str, str] = {}
    if cohort is None:
        cohort, obs, labels = known_cases(source, modalities=modalities, labelled=labelled)
    else:
        obs = cohort.obs
    exclusions: tuple[Exclusion, ...] = ()
    slides: Mapping[str, tuple[str, ...]] = dict.fromkeys(cohort.case_ids, ())
    if "slides" in modalities:
        unreadable: list[Exclusion] = []
        read = [source.adata or source.labels]
        if bags is None:
            folder = source.features or Path("features")
            read.append(folder)
            bags, unreadable = _bags(folder)
        cases_of = obs.index if modalities == keys.SLIDES else cohort.case_ids
        where = " and ".join(repr(str(path)) for path in read if path is not None)
        pairing = _pair(tuple(map(str, cases_of)), obs, bags, source, where=where)
        slides, exclusions = pairing.slides, (*unreadable, *pairing.exclusions)
    has_genes = "genes" in modalities and source.adata is not None
    rows = {case_id: row for row, case_id in enumerate(cohort.case_ids)} if has_genes else {}
    if labelled:  # prediction reports them itself
        slides = {case_id: own for case_id, own in slides.items() if own or case_id in rows}
    exclusions += without_anything(obs, slides, exclusions)
    keeps_all = not labelled or (unlabelled and source.unlabelled == "use")
    cases = tuple(
        Case(
            case_id=case_id,
            bags=tuple((bags or {})[slide_id] for slide_id in own),
            gene_row=rows.get(case_id, -1),
        )
        for case_id, own in slides.items()
        if case_id in labels or keeps_all
    )
    if not keeps_all:
        exclusions += without_label(slides, obs, labels, source)
    used = [bag for case in cases for bag in case.bags]
    feature_dim, encoder = _one_encoder(used)
    warn_of_mixed_views(used)
    warn_of_twins(cases)
    return Study(
        cohort=cohort,
        obs=obs,
        labels=labels,
        cases=cases,
        feature_dim=feature_dim,
        encoder=encoder,
        exclusions=exclusions,
    )


def with_defaults(source: CohortSource, of: Mapping[str, Any] | None = None) -> CohortSource:
    """Fill in fields that a user did not give, from another run or else from the defaults.

    Parameters
    ----------
    source
        What the user gave.
    of
        Source of the other run, for instance of the one given to `--from`.

    Returns
    -------
    The source; fields without a default may still be None.
    """
    inherited = dict(of or {})
    changes: dict[str, Any] = {}
    for name, default in DEFAULTS.to_dict().items():
        if getattr(source, name) is None:
            value = inherited.get(name, default)
            is_path = name in PATHS and value is not None
            changes[name] = Path(value) if is_path else value
    return replace(source, **changes)


def _bags(folder: Path) -> tuple[dict[str, BagInfo], list[Exclusion]]:
    """Bags of a folder by slide_id, and those that cannot be read."""
    found, errors = scan_bags(folder)
    for error in errors.values():
        if isinstance(error, SafetyError):  # an unsafe file stops everything
            raise error
    if not found:
        reason = f" that can be read: {next(iter(errors.values()))}" if errors else ""
        hint = "run gimp extract-features, or give --features"
        raise BagError(f"{str(folder)!r} holds no bag{reason}", hint=hint)
    if errors:
        told = counted(len(errors), "bag")
        first = next(iter(errors.values())).problem
        logger.warning("%s left out: %s (the first: %s)", told, listed(errors), first)
    exclusions = [Exclusion("", slide, "features", str(error)) for slide, error in errors.items()]
    return {bag.slide_id: bag for bag in found}, exclusions


def _pair(
    case_ids: Sequence[str],
    obs: pd.DataFrame,
    bags: Mapping[str, BagInfo],
    source: CohortSource,
    *,
    where: str,
) -> Pairing:
    """Slides of each case that is used; `where` names the files that were read, for messages."""
    pairing = pair(
        case_ids,
        tuple(bags),
        slide_table=source.slide_table,
        obs_slides=obs[keys.SLIDE_ID].to_dict() if keys.SLIDE_ID in obs else None,
        slide_samples=source.slide_samples or "tumour",
        slide_kind=source.slide_kind or "all",
    )
    if not case_ids:  # nothing but slides
        pairing = replace(pairing, slides=pairing.unknown, unknown={})
        case_ids = tuple(pairing.slides)
    try:
        pairing = apply_missing(pairing, case_ids, missing=source.missing or "drop")
    except PairingError as error:
        problem = f"{where}: {error.problem}" if where else error.problem
        raise PairingError(problem, hint=error.hint) from error
    for warning in pairing.warnings:
        logger.warning("%s", warning)
    return pairing


def _one_encoder(bags: Sequence[BagInfo]) -> tuple[int, str]:
    """Dimension and encoder of all bags; refuse a mixture."""
    by_maker: dict[tuple[int, str], list[BagInfo]] = {}
    for bag in bags:
        by_maker.setdefault((bag.dim, bag.encoder or ""), []).append(bag)
    if len(by_maker) > 1:
        (one, first), (two, second), *_ = by_maker.items()
        problem = (
            f"bags of different encoders are mixed: {str(first[0].path)!r} is {one[0]}-d of "
            f"{encoder_text(one[1])} (as are {len(first) - 1} more), {str(second[0].path)!r} is "
            f"{two[0]}-d of {encoder_text(two[1])}"
        )
        raise BagError(
            problem, hint="extract all slides with one encoder, or give another --features"
        )
    return next(iter(by_maker), (0, ""))


def encoder_text(encoder: str | None) -> str:
    """Name an encoder for a user; bags made by other programs may not name theirs."""
    return repr(encoder) if encoder else "an unnamed encoder"
