"""AdamW with a cosine schedule: which parameters decay, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from gimp_plugin.config.stages import Optimisation


def adamw(module: nn.Module, settings: Optimisation, *, lr: float) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; weight decay applies to matrices only.

    Norms, biases and tokens (one dimension, or a name that ends in token or tokens) do not decay.

    Parameters
    ----------
    module
        The module to train; frozen parameters are left out.
    settings
        Settings of the stage.
    lr
        Peak learning rate.

    Returns
    -------
    The optimiser, with empty state.
    """
    trained = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    groups = [
        {"params": list(_those(trained, decays=True)), "weight_decay": settings.weight_decay},
        {"params": list(_those(trained, decays=False)), "weight_decay": 0.0},
    ]
    fused = all(one.is_cuda for _, one in trained)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, fused=fused or None)


def peak_lr(settings: Optimisation, dim: int) -> float:
    """Give the learning rate of a stage; a setting of 0 scales it with 1 / dim.

    Returns
    -------
    The peak of the schedule.

    Examples
    --------
    >>> peak_lr(Optimisation(), 512), peak_lr(Optimisation(), 128)
    (0.0001, 0.0004)
    """
    return settings.lr or 1e-4 * 512 / dim


def lr_factor(step: int, n_steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine decay to 0.

    Parameters
    ----------
    step
        Steps done so far.
    n_steps
        Steps of the whole stage.
    warmup
        Share of the steps during which the rate rises.

    Returns
    -------
    Between 0 and 1.

    Examples
    --------
    >>> [round(lr_factor(step, 8, 0.25), 2) for step in range(8)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    n_warmup = round(warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def _those(
    parameters: Iterable[tuple[str, nn.Parameter]], *, decays: bool
) -> Iterable[nn.Parameter]:
    """Parameters that decay, or those that do not."""
    for name, parameter in parameters:
        is_matrix = parameter.ndim > 1 and not name.rpartition(".")[2].endswith(("token", "tokens"))
        if is_matrix == decays:
            yield parameter
