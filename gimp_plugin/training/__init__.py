"""Training: three stages on one model; each run folder records what it was made from."""

from __future__ import annotations

from gimp_plugin.training.commands import finetune, pretrain
from gimp_plugin.training.folder import RunResult
from gimp_plugin.training.ranks import joined

__all__ = ["RunResult", "finetune", "joined", "pretrain"]
