"""All patches of cases, read in chunks, so that no bag is ever held in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gimp_plugin.data.cases import Case
from gimp_plugin.storage.bags import BagInfo, read_features

ROWS = 8192
"""Number of patches read at a time, a multiple of the chunk size of our files."""


def load_chunks(
    cases: Sequence[Case], *, device: torch.device, num_workers: int = 0
) -> Iterator[tuple[Case, Iterator[Tensor]]]:
    """Read the patches of every slide of each case, in the order of slide_id.

    Parameters
    ----------
    cases
        The cases.
    device
        Where the features go; copies to a GPU do not block.
    num_workers
        Number of loader processes, each of which reads a few chunks ahead; 0 reads in this process.

    Yields
    ------
    Each case with an iterator of its features as stored, shape (patch, feature), at most `ROWS`
    patches at a time. It reads lazily, must be used before the next case, and is empty without
    slides.
    """
    parts = [
        _Part(case.case_id, bag, start, min(start + ROWS, bag.n_patches))
        for case in cases
        for bag in case.bags
        for start in range(0, bag.n_patches, ROWS)
    ]
    chunks: Iterator[Tensor] = iter(())
    if parts:  # otherwise no loader is needed
        pinned = device.type == "cuda"
        loader = DataLoader(
            _Parts(parts), batch_size=None, num_workers=num_workers, pin_memory=pinned
        )
        chunks = (chunk.to(device, non_blocking=True) for chunk in loader)
    for case in cases:
        own = islice(chunks, sum(-(-bag.n_patches // ROWS) for bag in case.bags))
        yield case, own
        for _ in own:  # skip chunks that were not used
            pass


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of a bag."""

    case_id: str
    bag: BagInfo
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Parts(Dataset[Tensor]):
    """Rows of bags by index."""

    parts: Sequence[_Part]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Tensor:
        part = self.parts[index]
        try:
            return torch.from_numpy(read_features(part.bag, part.start, part.stop))
        except Exception as error:
            error.add_note(f"while reading the slides of case {part.case_id!r}")
            raise
