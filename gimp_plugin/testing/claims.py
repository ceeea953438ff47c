"""Checks of every module: its seeds, its weights on disk, its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gimp_plugin.assembly.seeding import seeded
from gimp_plugin.config import ModelConfig, load_preset

SMALL = {
    "model.dim": 20,
    "model.n_heads": 5,
    "model.n_landmarks": 7,
    "model.convolution_taps": 3,
}
RTOL, ATOL = 1e-3, 1e-4
"""Tolerance for another order of sums in float32."""
LOUD = 1e3
"""Size of values in places that should not be read."""

Called = Callable[[Any], Sequence[Tensor]]


def require(holds: object, problem: str) -> None:
    """Raise an error if a claim does not hold.

    Parameters
    ----------
    holds
        Whether the claim holds.
    problem
        What is wrong if it does not.

    Raises
    ------
    AssertionError
        If the claim does not hold.
    """
    if not holds:
        raise AssertionError(problem)


def small_config(**changes: object) -> ModelConfig:
    """Configuration of a small model; `dim=8`, for example, changes a value."""
    return load_preset(
        "recommended", SMALL | {f"model.{key}": changes[key] for key in changes}
    ).model


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values, determined by the seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(make: Callable[[], Any], *, seed: int = 0) -> Any:
    """Make a module with seeded weights, as in a training."""
    with seeded(seed, "weights"):
        module = make()
    kind = type(module).__name__
    require(isinstance(module, nn.Module), f"it is of type {kind}, expected a torch.nn.Module")
    return module


def require_shape(found: object, shape: tuple[int, ...], what: str) -> None:
    """Refuse anything other than a tensor of finite floats of a given shape.

    Parameters
    ----------
    found
        Output of a module.
    shape
        Expected shape.
    what
        Name of the output, for the message.
    """
    kind = type(found).__name__
    require(isinstance(found, Tensor), f"{what} is of type {kind}, expected a tensor")
    if isinstance(found, Tensor):
        spelled = f"{what} has shape {tuple(found.shape)}, expected {shape}"
        require(tuple(found.shape) == shape, spelled)
        require(found.is_floating_point(), f"{what} is of {found.dtype}, expected floats")
        require(torch.isfinite(found).all(), f"{what} is not finite")


def require_close(found: Sequence[Tensor], expected: Sequence[Tensor], claim: str) -> None:
    """Refuse values that differ by more than rounding.

    Parameters
    ----------
    found, expected
        Tensors of equal shapes.
    claim
        What is wrong if they differ, for the message.
    """
    for one, other in zip(found, expected, strict=True):
        apart = (one - other).abs().max().item() if one.numel() else 0.0
        require(
            torch.allclose(one, other, rtol=RTOL, atol=ATOL),
            f"{claim}: values differ by {apart:.3g}",
        )


def require_logits(found: Tensor, what: str) -> None:
    """Refuse probabilities instead of logits, because training would apply a softmax to them.

    Parameters
    ----------
    found
        The logits, classes last.
    what
        Their name, for the message.
    """
    sums = found.sum(dim=-1)
    shares = (found >= 0).all() and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-4)
    require(not shares, f"{what} are probabilities, expected values before the softmax")


def check_module(make: Callable[[], Any], call: Called) -> None:
    """Check what every module must fulfil.

    Parameters
    ----------
    make
        Function that makes the module.
    call
        Function that calls the module, with the same inputs each time, and returns its outputs.
    """
    module = made(make)
    _check_seeds(module, make, call)
    _check_weights(module, make, call)
    _check_gradient(module, call)
    _check_bf16(module, call)


def _check_seeds(module: nn.Module, make: Callable[[], Any], call: Called) -> None:
    """Check that equal seeds give equal weights and, in training mode, equal outputs."""
    again = made(make).state_dict()
    for name, one in module.state_dict().items():
        require(torch.equal(one, again[name]), f"one seed gave two values of the weights {name!r}")
    outputs = []
    for _ in range(2):
        with seeded(0, "step"), torch.no_grad():
            outputs.append(call(module.train()))
    ends = []
    for seed in range(2):
        with seeded(seed, "step"), torch.no_grad():
            call(module)
            ends.append(torch.get_rng_state())
    require(not torch.equal(*ends), "it sets torch's seed, which all other parts depend on")
    alike = all(torch.equal(*pair) for pair in zip(*outputs, strict=True))
    require(alike, "in training mode, one seed of torch gave two outputs")
    with torch.no_grad():
        outputs = [call(module.eval()) for _ in range(2)]
    alike = all(torch.equal(*pair) for pair in zip(*outputs, strict=True))
    require(alike, "in evaluation mode, one input gave two outputs")


def _check_weights(module: nn.Module, make: Callable[[], Any], call: Called) -> None:
    """Check that weights survive a safetensors file, and determine the outputs."""
    state = {name: one.contiguous() for name, one in module.state_dict().items()}
    try:
        stored = load(save(state))
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"its state dict cannot be stored: {error}") from error
    other = made(make, seed=1)
    other.load_state_dict(stored)
    with torch.no_grad():
        outputs = [call(one.eval()) for one in (module, other)]
    alike = all(torch.equal(*pair) for pair in zip(*outputs, strict=True))
    require(alike, "its outputs depend on more than its state dict")


def _check_gradient(module: nn.Module, call: Called) -> None:
    """Check that the gradient reaches every parameter, and is finite."""
    module.eval()
    module.zero_grad()
    loss = sum((one * draw(*one.shape, seed=7)).sum() for one in call(module))
    require(isinstance(loss, Tensor) and loss.requires_grad, "its outputs carry no gradient")
    if isinstance(loss, Tensor):
        loss.backward()  # type: ignore[no-untyped-call]  # torch
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            require(gradient is not None, f"no gradient reaches the parameter {name!r}")
            finite = gradient is not None and torch.isfinite(gradient).all()
            require(finite, f"the gradient of the parameter {name!r} is not finite")


@torch.no_grad()
def _check_bf16(module: nn.Module, call: Called) -> None:
    """Check that the module runs under autocast to bfloat16, as on a GPU."""
    module.eval()
    plain = call(module)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = call(module)
    except (RuntimeError, ValueError, TypeError) as error:
        raise AssertionError(f"it cannot be run under autocast to bfloat16: {error}") from error
    for one, other in zip(plain, rounded, strict=True):
        require_shape(other, tuple(one.shape), "an output under autocast to bfloat16")
