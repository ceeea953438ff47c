"""As many epochs for every network, whatever stages it is trained in."""

from __future__ import annotations

from gimp_plugin.config import GimpConfig
from gimp_plugin.studies.chain import PRETRAINED
from gimp_plugin.training.pairs import learns_from_pairs

FROM_GENES = "genes"


def shared(config: GimpConfig, *, start: str, epochs: int) -> GimpConfig:
    """Share epochs between the stages of a training as its own settings do.

    Parameters
    ----------
    config
        Model and training; its epochs say which stage gets how much.
    start
        As for `studies.chain.train`.
    epochs
        Of all stages together, at least one for each.

    Returns
    -------
    The configuration, each stage with at least one epoch.
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
    """Stages that a training goes through, by the tables of their settings."""
    genes = config.model.has_genes and start in {PRETRAINED, FROM_GENES}
    if start == PRETRAINED and learns_from_pairs(config):
        genes = False
    pretrains = start == PRETRAINED and config.model.has_slides
    return (*["genes"] * genes, *["pretrain"] * pretrains, "finetune")
