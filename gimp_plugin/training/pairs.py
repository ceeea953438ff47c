"""Trainers that pre-train by pairs of slides and genes: how to recognise and check them."""

from __future__ import annotations

from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.config import GimpConfig
from gimp_plugin.data.study import Study
from gimp_plugin.errors import ConfigError, PairingError
from gimp_plugin.keys import BOTH, TRAIN
from gimp_plugin.plugins import registry


def learns_from_pairs(config: GimpConfig) -> bool:
    """Tell whether the trainer pre-trains by which slides and genes belong together.

    Parameters
    ----------
    config
        Settings of the model and the training.

    Returns
    -------
    True if the registered trainer has `pairs = True`. Such a trainer needs no labels and no gene
    pre-training: it trains the gene encoder itself, and fine-tuning trains that encoder further.
    """
    maker = registry().load("trainer", config.model.trainer)
    return bool(getattr(maker, "pairs", False))


def check_pairs(study: Study, splits: Splits, config: GimpConfig) -> None:
    """Refuse cases or settings that give no pairs to learn from.

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
        If the model lacks a half, or a batch holds only one case.
    PairingError
        If fewer than two training cases have both halves.
    """
    name = config.model.trainer
    if config.model.modalities != BOTH:
        problem = (
            f"trainer {name!r} pairs slides with genes, but the model has {config.model.modalities}"
        )
        raise ConfigError(problem, hint=f"set modalities = {BOTH!r}, or choose another trainer")
    if config.pretrain.batch_size < 2:
        problem = (
            f"trainer {name!r} compares the cases of a batch, and batch_size of [pretrain] is 1"
        )
        raise ConfigError(problem, hint="give --batch-size 2 or more")
    pairs = [
        case.case_id
        for case in study.cases
        if case.has_slides and case.has_genes and splits.parts.get(case.case_id) == TRAIN
    ]
    if len(pairs) < 2:
        problem = f"{len(pairs)} training cases have slides and genes, trainer {name!r} needs 2"
        raise PairingError(problem, hint="give --splits with more such cases in train")
