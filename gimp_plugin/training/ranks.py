"""Several processes that train one model: each takes its share of every batch."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather, gather_object, reduce
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from gimp_plugin.assembly.device import accelerator_of
from gimp_plugin.config import Runtime
from gimp_plugin.errors import ElsewhereError, GimpError, ResourceError, exit_code_of

T = TypeVar("T")

OURS = "gimp_plugin"
AGREED = "stops_all_ranks"
"""Attribute of an error that all ranks know of, so that all stop at the same point."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process among those that train together; by default the only one.

    The batch is the same as for one process: its case i belongs to rank i mod `world`. Every rank
    knows the cases of the whole batch, and makes the same sequence of collective calls.

    Parameters
    ----------
    rank
        Number of this process.
    world
        Number of processes.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> Ranks:
        """Give the rank that a launcher assigned to this process."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and logs."""
        return self.rank == 0

    def share(self, batch: Sequence[T], *, filled: bool = False) -> list[T]:
        """Give the items of a batch that belong to this rank.

        Parameters
        ----------
        batch
            Items of all ranks.
        filled
            If a rank would get no item, give it the first item of the batch: every rank takes part
            in every step, and the result for this extra item is ignored.

        Returns
        -------
        The items.

        Examples
        --------
        >>> [Ranks(rank, 3).share("abcde") for rank in range(3)]
        [['a', 'd'], ['b', 'e'], ['c']]
        >>> Ranks(2, 3).share("ab"), Ranks(2, 3).share("ab", filled=True)
        ([], ['a'])
        """
        own = list(batch[self.rank :: self.world])
        return own or list(batch[:1]) if filled else own

    def rows(self, own: Float[Tensor, "own dim"], n_rows: int) -> Float[Tensor, "batch dim"]:
        """Gather the rows of the whole batch; only those of this rank carry a gradient.

        Parameters
        ----------
        own
            Rows of this rank's items; any further rows are ignored.
        n_rows
            Number of items of the whole batch.

        Returns
        -------
        The rows in the order of the batch.
        """
        if self.world == 1:
            return own
        own = own[: len(range(self.rank, n_rows, self.world))]
        padded = own.new_zeros(-(-n_rows // self.world), own.shape[1])
        padded[: len(own)] = own.detach()
        return self.put_back(gather(padded), own, n_rows)

    def put_back(
        self, gathered: Float[Tensor, "_ dim"], own: Float[Tensor, "own dim"], n_rows: int
    ) -> Float[Tensor, "batch dim"]:
        """Order equally many rows of each rank as in the batch; this rank's come from `own`."""
        every = rearrange(gathered, "(rank k) d -> (k rank) d", rank=self.world)[:n_rows].clone()
        every[self.rank :: self.world] = own
        return every

    def mean(self, total: Float[Tensor, ""], count: int | Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Mean over all ranks; its gradient is that of this rank's share.

        Parameters
        ----------
        total
            Sum of this rank's values.
        count
            Number of this rank's values, or the sum of their weights.

        Returns
        -------
        The mean; 0 if no rank has a value.
        """
        own_count = total.new_zeros((), dtype=torch.float64) + count
        everything, n_values = reduce(torch.stack([total.detach().double(), own_count]), "sum")
        n_values = torch.where(n_values > 0, n_values, 1.0)
        return _valued(total / n_values.to(total.dtype), everything / n_values)

    def sum(self, total: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Sum over all ranks; its gradient is that of this rank's summand."""
        return total if self.world == 1 else _valued(total, reduce(total.detach(), "sum"))

    def sums(self, *values: float) -> tuple[float, ...]:
        """Sum of each number over all ranks."""
        if self.world == 1:
            return values
        return tuple(sum(of_all) for of_all in zip(*gather_object([values]), strict=True))

    def same(self, value: T) -> T:
        """Give all ranks the main process's value, so that all decide the same."""
        return value if self.world == 1 else broadcast_object_list([value])[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block on all ranks; an error in one stops all, and only one reports it.

        Raises
        ------
        ElsewhereError
            If another rank reports the error.
        """
        if self.world == 1:
            yield
            return
        problem = None
        try:
            yield
        except Exception as error:  # noqa: BLE001  # raised again below
            problem = error
        codes = gather_object([None if problem is None else exit_code_of(problem)])
        failed = [rank for rank, code in enumerate(codes) if code is not None]
        if problem is not None and failed[0] == self.rank:
            problem.__dict__[AGREED] = True
            raise problem
        if failed:
            elsewhere = ElsewhereError(codes[failed[0]])
            elsewhere.__dict__[AGREED] = True
            raise elsewhere from problem


ALONE = Ranks()


@contextmanager
def joined(runtime: Runtime) -> Iterator[Ranks]:
    """Train together with the other processes that a launcher started, if any.

    Only the main process logs. Nested blocks share one group.

    Parameters
    ----------
    runtime
        Device and precision.

    Yields
    ------
    The rank of this process.

    Raises
    ------
    ResourceError
        If the device is not there, or another process of the group is gone.
    ElsewhereError
        If another process reports the error.
    """
    with _losses_told():
        try:
            ranks = Ranks.of(accelerator_of(runtime))
        except GimpError as error:  # raised in all processes of this machine
            if os.environ.get("LOCAL_RANK", "0") == "0":
                raise
            raise ElsewhereError(error.exit_code) from error
        logger = logging.getLogger(OURS)
        level = logger.level
        if not ranks.is_main:
            logger.setLevel(logging.ERROR)
        try:
            yield ranks
        except Exception as error:
            if AGREED in error.__dict__:
                _leave_in_order(ranks)
            raise
        finally:
            logger.setLevel(level)
    _leave_in_order(ranks)


def _leave_in_order(ranks: Ranks) -> None:
    """Destroy the group when this process ends; if others may be gone, that would hang."""
    if ranks.world > 1:
        atexit.register(PartialState().destroy_process_group)


@contextmanager
def _losses_told() -> Iterator[None]:
    """Turn a failed connection to another process into a ResourceError."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        if isinstance(error, GimpError) or not lost:
            raise
        hint = "see its own message, or the launcher's; the same command then continues"
        raise ResourceError("another process of this training is gone", hint=hint) from error


def _valued(own: Float[Tensor, ""], value: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Give a value the gradient of `own`."""
    return value.to(own.dtype) + (own - own.detach())
