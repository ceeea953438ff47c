"""Training: three stages on one model, each in a run folder that says what it was made from."""

from __future__ import annotations

from gimp_plugin.training.commands import finetune, pretrain
from gimp_plugin.training.folder import RunResult

__all__ = ["RunResult", "finetune", "pretrain"]
