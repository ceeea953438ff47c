"""The same total number of epochs for every network, whatever its stages."""

from __future__ import annotations

from gimp_plugin.config import GimpConfig
from gimp_plugin.studies.chain import PRETRAINED
from gimp_plugin.training.pairs import learns_from_pairs

FROM_GENES = "genes"


def shared(config: GimpConfig, *, start: str, epochs: int) -> GimpConfig:
    """Divide epochs between the stages of a training in proportion to its own settings.

    Parameters
    ----------
    config
        Settings of the model and the training; its epochs give the proportions.
    start
        As for `studies.chain.train`.
    epochs
        Total over all stages, at least one for each.

    Returns
    -------
    The configuration, with at least one epoch per stage.
    """
    stages = stages_of(config, start)
    wanted = [getattr(config, stage).epochs for stage in stages]
    changes, left = {}, epochs
    for place, stage in enumerate(stages):
        share = round(left * wanted[place] / sum(wanted[place:]))
        n_after = len(stages) - place - 1
        share = max(1, min(share, left - n_after))
        changes[f"{stage}.epochs"] = share
        left -= share
    return config.replace(changes)


def stages_of(config: GimpConfig, start: str) -> tuple[str, ...]:
    """Stages of a training, named by the tables of their settings."""
    genes = config.model.has_genes and start in {PRETRAINED, FROM_GENES}
    if start == PRETRAINED and learns_from_pairs(config):
        genes = False
    pretrains = start == PRETRAINED and config.model.has_slides
    return (*["genes"] * genes, *["pretrain"] * pretrains, "finetune")
