"""Which halves of a case a run predicts from: those it has, or those asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from gimp_plugin import keys
from gimp_plugin.config.checks import require_choice
from gimp_plugin.data.cases import Case
from gimp_plugin.data.views import warn_of_other_views
from gimp_plugin.errors import CheckpointError, PairingError, counted, listed
from gimp_plugin.prediction.encoding import needed_halves
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.storage.tables import Exclusion

logger = logging.getLogger(__name__)


def check_modalities(record: RunRecord, modalities: str | None) -> None:
    """Refuse halves that a run does not have, or the lack of one that it needs.

    Parameters
    ----------
    record
        The run.
    modalities
        Halves to predict every case from; None uses the halves that each case has.

    Raises
    ------
    ConfigError
        If `modalities` has no such choice.
    CheckpointError
        If the run lacks one of these halves, or was not trained to do without the other.
    """
    if modalities is None:
        return
    require_choice("modalities", modalities, keys.MODALITIES)
    model, asked = record.config.model.modalities, halves_of(modalities)
    lacking = [half for half in asked if half not in halves_of(model)]
    if lacking:
        problem = f"run {str(record.path)!r} was trained on {model}: it has no {lacking[0]}"
        raise CheckpointError(problem, hint="give --modalities that the run has, or another run")
    needed = [half for half in needed_halves(record) if half not in asked]
    if needed and record.config.model.system:
        problem = f"the system {record.config.model.system!r} of run {str(record.path)!r}"
        hint = "leave --modalities out"
        raise CheckpointError(f"{problem} cannot do without {needed[0]}", hint=hint)
    if needed:
        dropout = {keys.SLIDES: "image_dropout", keys.GENES: "gene_dropout"}[needed[0]]
        problem = f"run {str(record.path)!r} was not trained to do without {needed[0]}"
        hint = f"fine-tune it with {dropout} above 0, or leave --modalities out"
        raise CheckpointError(f"{problem} ({dropout} = 0)", hint=hint)


def halves_of(modalities: str) -> tuple[str, ...]:
    """Split `slides`, `genes` or `slides+genes` into halves."""
    return tuple(modalities.split("+"))


def shown(case: Case, modalities: str | None) -> Case:
    """Give a case without the half that it must not be predicted from."""
    asked = halves_of(modalities or keys.BOTH)
    return replace(
        case,
        bags=case.bags if keys.SLIDES in asked else (),
        gene_row=case.gene_row if keys.GENES in asked else -1,
    )


def modalities_of(case: Case) -> str:
    """Name the halves of a case, which has at least one, as in a table of predictions."""
    if case.has_slides and case.has_genes:
        return keys.BOTH
    return keys.SLIDES if case.has_slides else keys.GENES


def predictable(
    cases: Sequence[Case], record: RunRecord, modalities: str | None
) -> tuple[list[Case], list[Exclusion]]:
    """Separate cases that can be predicted from those that lack a half; warn of other patches.

    Parameters
    ----------
    cases
        The cases, as returned by `shown`.
    record
        The run.
    modalities
        Halves to predict every case from; None uses the halves that each case has.

    Returns
    -------
    The cases that can be predicted, and what was left out.

    Raises
    ------
    PairingError
        If no case is left.
    """
    warn_of_other_views(record, [bag for case in cases for bag in case.bags])
    asked = halves_of(modalities) if modalities else ()
    reasons = dict.fromkeys(asked, "which --modalities asks for")
    reasons |= dict.fromkeys(needed_halves(record), "and the run was not trained to do without")
    kept: list[Case] = []
    left_out: list[Exclusion] = []
    for case in cases:
        has = {keys.SLIDES: case.has_slides, keys.GENES: case.has_genes}
        lacking = [f"no {half}, {why}" for half, why in reasons.items() if not has[half]]
        if not any(has.values()):
            lacking.append("neither slides nor genes")
        if lacking:
            left_out.append(Exclusion(case.case_id, "", "prediction", lacking[0]))
        else:
            kept.append(case)
    if left_out:
        names = listed(one.case_id for one in left_out)
        told = counted(len(left_out), "case")
        logger.warning("%s left out: %s: %s", told, left_out[0].reason, names)
    if not kept:
        problem = f"none of {len(cases)} cases can be predicted by run {str(record.path)!r}"
        raise PairingError(problem, hint="see the warnings above for what each case lacks")
    halves = Counter(modalities_of(case) for case in kept)
    if len(halves) > 1:
        counts = ", ".join(f"{count} from {name}" for name, count in halves.most_common())
        logger.warning("not all cases have the same halves: %s", counts)
    return kept, left_out
