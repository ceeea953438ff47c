"""Which cases training requires, and those of them that have no class."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.splitting import unlabelled
from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.config import GimpConfig
from gimp_plugin.data.study import Study
from gimp_plugin.errors import ConfigError, PairingError, counted, listed
from gimp_plugin.keys import TRAIN, VAL

logger = logging.getLogger(__name__)


def labels_at_hand(study: Study) -> dict[str, str]:
    """Class of each used case that has one."""
    labels = study.labels
    return {case_id: labels[case_id] for case_id in study.case_ids if case_id in labels}


def with_unlabelled(splits: Splits, named: Iterable[str], study: Study) -> Splits:
    """Add training cases without a class, except those of a val or test patient.

    Parameters
    ----------
    splits
        The part of each case that has a class.
    named
        Cases without a class that may be trained on.
    study
        The cases.

    Returns
    -------
    The splits with these cases added.
    """
    larger = unlabelled.with_unlabelled(splits, named)
    rest = [case_id for case_id in study.unlabelled if case_id not in larger.parts]
    n_added = len(larger.parts) - len(splits.parts)
    if n_added:
        told = counted(n_added, "training case has", "training cases have")
        logger.warning("%s no class and will be used for pre-training only", told)
    if rest:
        told = counted(len(rest), "case")
        text = "%s left out, without a class and outside the training part: %s"
        logger.warning(text, told, listed(rest))
    return larger


def outside_of(fold: str, study: Study, column: str) -> tuple[str, ...]:
    """Cases without a class that a column of folds assigns to another fold."""
    cells = dict(zip(map(str, study.obs.index), study.obs[column].tolist(), strict=True))
    values = ((case_id, cells.get(case_id)) for case_id in study.unlabelled)
    return tuple(name for name, one in values if not is_missing(one) and text_of(one) != fold)


def check_slides(study: Study, splits: Splits, config: GimpConfig) -> None:
    """Refuse to train a model that reads slides if no training case has slides.

    Parameters
    ----------
    study
        The cases.
    splits
        Part of each case.
    config
        Settings of the model and the training.

    Raises
    ------
    PairingError
        If no training case has slides.
    """
    parts = {splits.parts.get(one.case_id) for one in study.cases if one.has_slides}
    if config.model.has_slides and TRAIN not in parts:
        hint = "give --splits with such cases in train, or --modalities genes"
        raise PairingError("no training case has slides to learn from", hint=hint)


def check_halves(study: Study, splits: Splits, config: GimpConfig) -> None:
    """Refuse to pre-train without the slides that triplets and validation need.

    Parameters
    ----------
    study
        The cases.
    splits
        Part of each case.
    config
        Settings of the model and the training.

    Raises
    ------
    ConfigError
        If triplets are asked for and no training case has slides and a class, and for those of
        patients also genes.
    PairingError
        If no validation case has slides.
    """
    if not config.model.has_slides:
        return
    placed = [one for one in study.cases if one.has_slides and one.case_id in study.labels]
    parts = {splits.parts.get(one.case_id) for one in placed}
    settings = ("patient_triplet_weight", "image_triplet_weight")
    if TRAIN not in parts and any(getattr(config.pretrain, name) for name in settings):
        problem = "no training case has slides and a class, so there are no triplets"
        raise ConfigError(problem, hint=f"set {' and '.join(settings)} of [pretrain] to 0")
    paired = {splits.parts.get(one.case_id) for one in placed if one.has_genes}
    if config.model.has_genes and config.pretrain.patient_triplet_weight and TRAIN not in paired:
        problem = "no training case has slides, genes and a class: no triplets of patients"
        raise ConfigError(problem, hint="set patient_triplet_weight of [pretrain] to 0")
    if VAL not in parts:
        problem = "no validation case has slides, and masked patch modeling is judged on them"
        raise PairingError(problem, hint="give --splits with such cases in val")


def check_genes(study: Study, splits: Splits, config: GimpConfig) -> None:
    """Refuse gene pre-training without the genes that it learns from and is judged on.

    A class of which no training case has genes is warned of: only slides can tell it.

    Parameters
    ----------
    study
        The cases.
    splits
        Part of each case.
    config
        Settings of the model and the training.

    Raises
    ------
    PairingError
        If no training case, or no validation case, has genes and a class.
    """
    if not config.model.has_genes:
        return
    placed = [one for one in study.cases if one.has_genes and one.case_id in study.labels]
    parts = {splits.parts.get(one.case_id) for one in placed}
    for part, name in ((TRAIN, "training"), (VAL, "validation")):
        if part not in parts:
            problem = f"no {name} case has genes and a class, and gene pre-training needs some"
            raise PairingError(problem, hint=f"give --splits with such cases in {part}")
    trained = {case: name for case, name in study.labels.items() if splits.parts.get(case) == TRAIN}
    with_genes = {trained.get(one.case_id) for one in placed}
    for name in sorted(set(trained.values()) - with_genes):
        logger.warning("no training case of class %r has genes: only slides can tell it", name)
