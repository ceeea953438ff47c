"""Batches of cases, drawn and padded; the same for any number of loader processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gimp_plugin.config import FinetuneConfig, PretrainConfig
from gimp_plugin.data.cases import Case, Patches, draw_subset, draw_window, generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Patches of several cases, padded to the case with the most patches.

    Parameters
    ----------
    case
        Index of each case in the list that the batch was drawn from, shape (batch,).
    features
        Shape (batch, patch, feature), float16 or float32 as stored; zeros after the last patch.
    valid
        True for real patches, shape (batch, patch).
    slide
        Index of the slide of each patch within its case, shape (batch, patch).
    source
        Index of the patch that each one is a copy of, shape (batch, patch).
    """

    case: Int[Tensor, " batch"]
    features: Float[Tensor, "batch patch feature"]
    valid: Bool[Tensor, "batch patch"]
    slide: Int[Tensor, "batch patch"]
    source: Int[Tensor, "batch patch"]

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return moved(self, device)

    def pin_memory(self) -> Self:
        """Copy the batch to pinned memory, from which a GPU copies without blocking."""
        return type(self)(
            **{field.name: getattr(self, field.name).pin_memory() for field in fields(self)}
        )


def moved(value: Any, device: torch.device) -> Any:
    """Move tensors to a device without waiting for its pending work.

    Parameters
    ----------
    value
        A tensor, or tensors in dictionaries, tuples and dataclasses; anything else is left alone.
    device
        The target.

    Returns
    -------
    The same structure, with its tensors on the device.
    """
    if isinstance(value, Tensor):
        if device.type == "cuda" and not value.is_cuda:
            value = value.pin_memory()  # so that the copy does not block
        return value.to(device, non_blocking=True)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: moved(getattr(value, name), device) for name in names})
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    return tuple(moved(one, device) for one in value) if isinstance(value, tuple) else value


class Draw(Protocol):
    """Draws patches from a case with the random generator of that case and epoch."""

    def __call__(self, case: Case, rng: np.random.Generator) -> Patches:
        """Draw the patches."""
        ...


def window_draw(settings: PretrainConfig) -> Draw:
    """Give the draw of windows for masked patch modeling."""
    return partial(_window, length=settings.subsequence_length, tiled=settings.window == "tiled")


def subset_draw(settings: FinetuneConfig) -> Draw:
    """Give the draw of random subsets for fine-tuning."""
    return partial(
        _subset,
        low=settings.patch_share_low,
        high=settings.patch_share_high,
        max_patches=settings.max_patches,
    )


def load(
    cases: Sequence[Case],
    order: Sequence[Sequence[int]],
    draw: Draw,
    *,
    feature_dim: int,
    seed: int,
    epoch: int,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Load the batches of one epoch.

    The patches drawn from a case depend only on (seed, epoch, case), so neither the number of
    processes nor the order of loading changes a batch.

    Parameters
    ----------
    cases
        The cases to load from.
    order
        Indices of the cases of each batch.
    draw
        How patches are drawn from a case; a case without slides gets one patch of zeros.
    feature_dim
        Length of the features of a patch.
    seed, epoch
        Seed the draws.
    num_workers
        Number of loader processes; 0 loads in this process.
    pin_memory
        Load into pinned memory.

    Yields
    ------
    One batch for each item of `order`.
    """
    dataset = _Cases(cases, draw, feature_dim, seed, epoch)
    yield from DataLoader(
        dataset,
        batch_sampler=[list(batch) for batch in order],
        collate_fn=_collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
    )


@dataclass(frozen=True, slots=True)
class _Cases(Dataset[tuple[int, Patches]]):
    """Cases by index, with patches drawn for one epoch."""

    cases: Sequence[Case]
    draw: Draw
    feature_dim: int
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> tuple[int, Patches]:
        case = self.cases[index]
        if not case.has_slides:
            place = np.zeros(1, np.int64)
            return index, Patches(np.zeros((1, self.feature_dim), np.float16), place, place)
        try:
            return index, self.draw(case, generator(self.seed, self.epoch, case.case_id))
        except Exception as error:
            error.add_note(f"while reading the slides of case {case.case_id!r}")
            raise


def _collate(items: Sequence[tuple[int, Patches]]) -> Batch:
    """Join cases to a batch, padded to the case with the most patches."""
    longest = max(len(patches.features) for _, patches in items)
    dim = items[0][1].features.shape[1]
    dtype = np.result_type(*(patches.features.dtype for _, patches in items))
    features = np.zeros((len(items), longest, dim), dtype)
    valid = np.zeros((len(items), longest), bool)
    slide = np.zeros((len(items), longest), np.int64)
    source = np.zeros((len(items), longest), np.int64)
    for row, (_, patches) in enumerate(items):
        n_patches = len(patches.features)
        features[row, :n_patches] = patches.features
        valid[row, :n_patches] = True
        slide[row, :n_patches] = patches.slide
        source[row, :n_patches] = patches.source
    return Batch(
        case=torch.tensor([index for index, _ in items]),
        features=torch.from_numpy(features),
        valid=torch.from_numpy(valid),
        slide=torch.from_numpy(slide),
        source=torch.from_numpy(source),
    )


def _window(case: Case, rng: np.random.Generator, *, length: int, tiled: bool) -> Patches:
    return draw_window(case, length, rng, tiled=tiled)


def _subset(
    case: Case, rng: np.random.Generator, *, low: float, high: float, max_patches: int
) -> Patches:
    return draw_subset(case, low, high, rng, max_patches=max_patches)
