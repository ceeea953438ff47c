"""The loop that runs every stage: epochs, steps, choice of the epoch, and resuming."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gimp_plugin.assembly.seeding import seeded
from gimp_plugin.errors import NotFiniteError, ResourceError, listed
from gimp_plugin.plugins.telling import tell_epoch
from gimp_plugin.storage.resume import Checkpoint, latest_checkpoint, save_checkpoint
from gimp_plugin.storage.runs import LOG, RESUME
from gimp_plugin.training.optim import adamw, lr_factor, peak_lr
from gimp_plugin.training.progress import (
    BEST,
    MODEL,
    OWN,
    Progress,
    load_moments,
    tensors_of,
    under,
)
from gimp_plugin.training.stage import LOSS, Stage, Step, Terms
from gimp_plugin.training.tools import Tools
from gimp_plugin.training.tracking import track

logger = logging.getLogger(__name__)

CHECKPOINT_S = 300.0
"""Seconds between two checkpoints within an epoch; each epoch also ends with one."""

CHECK_EVERY = 25
"""Steps between two checks of the loss on a GPU, where each check waits for the device."""


def fit(stage: Stage, tools: Tools) -> dict[str, Any]:
    """Train one stage, resuming from its last checkpoint if there is one.

    Parameters
    ----------
    stage
        The stage; its model ends with the weights of the chosen epoch.
    tools
        Device, folder and seed.

    Returns
    -------
    The chosen epoch (counted from 1) and the metrics of each epoch.

    Raises
    ------
    NotFiniteError
        If the loss or a validation metric stops being finite; the last checkpoint is kept.
    """
    return _Fit(stage, tools).run()


class _Fit:
    """One stage being trained."""

    def __init__(self, stage: Stage, tools: Tools) -> None:
        self.stage, self.tools, self.settings = stage, tools, stage.settings
        self.ranks = tools.ranks
        self.n_steps = stage.n_batches()
        self.lr = peak_lr(self.settings, stage.dim)
        self.progress = Progress(stage.name)
        self.best: dict[str, Tensor] = {}
        stage.to(tools.accelerator.device)
        optimiser = adamw(stage, self.settings, lr=self.lr)
        self.module, self.optimiser = tools.accelerator.prepare(stage, optimiser)

    def run(self) -> dict[str, Any]:
        """Train, choose the epoch, and record that the stage is finished."""
        self._resume()
        if self.progress.stage != self.stage.name:
            earlier = self.progress.earlier[self.stage.name]
            self._track(earlier["epochs"])
            return earlier
        self._track(self.progress.history)
        while not (self.progress.finished or self._is_over()):
            self._epoch()
        if not self.progress.finished:
            self._choose()
            self.progress.finished = True
            with self.ranks.together():
                self._save()
        return self.progress.result()

    def _is_over(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        done, patience = self.progress.epoch, self.settings.patience
        waited = done - 1 - self.progress.best_epoch
        early = patience > 0 and self.progress.best_score is not None and waited >= patience
        return early or done >= self.settings.epochs

    def _epoch(self) -> None:
        """One pass over the training cases, the validation, and a checkpoint."""
        started = saved = time.monotonic()
        progress, epoch = self.progress, self.progress.epoch
        totals = {name: torch.tensor(value) for name, value in progress.sums.items()}
        self.module.train()
        pending: list[tuple[Sequence[str], Tensor]] = []
        for step in self._bar(self.stage.batches(epoch, skip=progress.step)):
            terms = self._step(step, epoch * self.n_steps + progress.step)
            progress.step += 1
            totals = {name: totals.get(name, 0) + value.detach() for name, value in terms.items()}
            pending.append((step.case_ids, terms[LOSS].detach()))
            if len(pending) >= self._patience_with_loss or progress.step == self.n_steps:
                problem = _not_finite(pending, self.stage.name, epoch)
                if problem is not None:  # the loss is the same on all ranks
                    with self.ranks.together():
                        raise problem
                pending = []
                if time.monotonic() - saved > CHECKPOINT_S and progress.step < self.n_steps:
                    progress.sums = {name: float(value) for name, value in totals.items()}
                    self._save()
                    saved = time.monotonic()
        means = {name: float(value) / self.n_steps for name, value in totals.items()}
        self._close_epoch(means, time.monotonic() - started)

    def _step(self, step: Step, number: int) -> Terms:
        """Update the weights once; dropout depends on the seed and the step number."""
        rate = self.lr * lr_factor(
            number, self.settings.epochs * self.n_steps, self.settings.warmup
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        accelerator, ranks = self.tools.accelerator, self.ranks
        own = () if ranks.is_main else (ranks.rank,)
        with seeded(self.tools.seed, self.stage.name, number, *own), accelerator.autocast():
            terms: Terms = self.module(**step.inputs)
        # accelerate averages the gradients of the ranks, but that of the loss is their sum.
        accelerator.backward(terms[LOSS] * ranks.world)
        if self.settings.clip_norm:
            accelerator.clip_grad_norm_(self.module.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return terms

    def _close_epoch(self, means: dict[str, float], seconds: float) -> None:
        """Validate, keep the best weights, log and save."""
        progress = self.progress
        self.module.eval()
        with torch.no_grad():
            means, metrics = self.ranks.same((means, self.stage.validate()))
        problem = _metric_not_finite(metrics, self.stage.name, progress.epoch)
        if problem is not None:
            with self.ranks.together():
                raise problem
        score = self.stage.score(metrics)
        if score is None:
            progress.best_epoch = progress.epoch
        elif progress.best_score is None or list(score) > progress.best_score:
            progress.best_epoch, progress.best_score = progress.epoch, list(score)
            self.best = {name: one.clone() for name, one in self.stage.model.state_dict().items()}
        progress.history.append(means | metrics)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        with self.ranks.together():
            self._log(means | metrics, seconds)
            self._save()
        if self.ranks.is_main:
            tell_epoch(
                self.stage.name,
                progress.epoch,
                n_epochs=self.settings.epochs,
                metrics=means | metrics,
                run=self.tools.folder,
            )

    def _log(self, values: dict[str, float], seconds: float) -> None:
        """Log one line for people and one for programs."""
        done, stage = self.progress.epoch, self.stage.name
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("%s %d/%d  %s  %.1f s", stage, done, self.settings.epochs, shown, seconds)
        record = {"stage": stage, "epoch": done, **values, "seconds": round(seconds, 3)}
        if not self.ranks.is_main:
            return
        with (self.tools.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        track(self.tools, stage, done, values)

    def _track(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Send the trackers the epochs that an earlier process has completed."""
        with self.ranks.together():
            for number, values in enumerate(epochs, start=1):
                track(self.tools, self.stage.name, number, values)

    def _choose(self) -> None:
        """Load the weights of the best epoch; if none was chosen, keep the last ones."""
        if self.best:
            self.stage.model.load_state_dict(self.best)
        self.best = {}

    def _save(self) -> None:
        """Write a checkpoint from the main rank; all ranks have the same state."""
        if not self.ranks.is_main:
            return
        optimiser = None if self.progress.finished else self.optimiser
        tensors = tensors_of(self.stage, optimiser, best=self.best)
        save_checkpoint(self.tools.folder / RESUME, tensors, self.progress.to_dict())

    def _resume(self) -> None:
        """Resume from the newest checkpoint: of this stage, a later one, or the one before."""
        found = self._checkpoint()
        if found is None:  # any log is then left over from a lost training
            if self.ranks.is_main:
                (self.tools.folder / LOG).unlink(missing_ok=True)
            return
        state = {key: value for key, value in found.state.items() if key != "sha256"}
        progress = Progress(**state)
        self.stage.model.load_state_dict(under(MODEL, found.tensors))
        finished_before = progress.finished and progress.stage != self.stage.name
        if finished_before and self.stage.name not in progress.earlier:
            self.progress.earlier = {**progress.earlier, progress.stage: progress.result()}
            return
        self.progress = progress
        if progress.stage == self.stage.name:
            self.best = under(BEST, found.tensors)
            self.stage.load_state_dict(self.stage.state_dict() | under(OWN, found.tensors))
            n_done = progress.epoch * self.n_steps + progress.step
            load_moments(self.stage, self.optimiser, found.tensors, n_done=n_done)
            logger.info("%s continues after epoch %d", self.stage.name, progress.epoch)

    def _checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint, the same for all ranks."""
        with self.ranks.together():
            found = latest_checkpoint(self.tools.folder / RESUME)
        state = None if found is None else found.state
        state_of_main = self.ranks.same(state)
        with self.ranks.together():
            if state != state_of_main:
                problem = f"the processes see different checkpoints in {str(self.tools.folder)!r}"
                raise ResourceError(problem, hint="put the output where every machine sees it")
        return found

    def _bar(self, batches: Any) -> Any:
        """Show the progress of an epoch, on a terminal only."""
        name = f"{self.stage.name} {self.progress.epoch + 1}/{self.settings.epochs}"
        done = self.progress.step
        hidden = None if self.ranks.is_main else True  # None: only on a terminal
        return tqdm(
            batches, desc=name, total=self.n_steps, initial=done, disable=hidden, leave=False
        )

    @property
    def _patience_with_loss(self) -> int:
        """Steps between two checks of the loss."""
        return 1 if self.tools.accelerator.device.type == "cpu" else CHECK_EVERY


def _not_finite(
    pending: list[tuple[Sequence[str], Tensor]], stage: str, epoch: int
) -> NotFiniteError | None:
    """Error for the first loss that is not finite, with its cases; None if all are finite."""
    losses = torch.stack([loss for _, loss in pending])
    if bool(torch.isfinite(losses).all()):
        return None
    at = int(torch.isfinite(losses).int().argmin())
    problem = (
        f"the loss of {stage} stopped being finite ({losses[at].item()}) in epoch {epoch + 1}, "
        f"in the batch of cases {listed(pending[at][0], limit=8)}"
    )
    hint = "look at these cases, lower --lr, or use --precision fp32"
    return NotFiniteError(problem, hint=hint)


def _metric_not_finite(
    metrics: Mapping[str, float], stage: str, epoch: int
) -> NotFiniteError | None:
    """Error for the first metric that is not finite, and so not valid JSON; None if all are."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            problem = f"{name} of {stage} is not finite ({value}) in epoch {epoch + 1}"
            hint = "look at the validation cases, lower --lr, or use --precision fp32"
            return NotFiniteError(problem, hint=hint)
    return None
