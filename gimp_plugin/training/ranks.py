"""Several processes that train one model: each its share of every batch, all with one voice."""

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
"""Mark of an error that all ranks know of, each where the others are."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process among those that train together; by default it is alone.

    The batch is that of one process: case i of it belongs to rank i mod `world`. Every rank knows
    the cases of the whole batch, and goes through the same calls that speak to the others.

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
        """Give the place that a launcher gave to this process."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, batch: Sequence[T], *, filled: bool = False) -> list[T]:
        """Own items of a batch.

        Parameters
        ----------
        batch
            Items of all ranks.
        filled
            Where the batch has fewer items than there are ranks, give the first one instead of
            none: every rank takes part in every step, and what it computes then is of no account.

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
        """Rows of the whole batch, of which the own ones alone carry a gradient.

        Parameters
        ----------
        own
            Rows of the own items; more than those are of no account.
        n_rows
            Items of the whole batch.

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
        """Bring rows of all ranks, as many of each, into the batch's order; own ones from `own`."""
        every = rearrange(gathered, "(rank k) d -> (k rank) d", rank=self.world)[:n_rows].clone()
        every[self.rank :: self.world] = own
        return every

    def mean(self, total: Float[Tensor, ""], count: int | Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Mean over all ranks of what each has summed; its gradient is that of the own summand.

        Parameters
        ----------
        total
            Sum over the own values.
        count
            Number of own values, or the sum of their weights.

        Returns
        -------
        The mean, 0 when no rank has a value.
        """
        own_count = total.new_zeros((), dtype=torch.float64) + count
        everything, n_values = reduce(torch.stack([total.detach().double(), own_count]), "sum")
        n_values = torch.where(n_values > 0, n_values, 1.0)
        return _valued(total / n_values.to(total.dtype), everything / n_values)

    def sum(self, total: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Sum over all ranks; its gradient is that of the own summand."""
        return total if self.world == 1 else _valued(total, reduce(total.detach(), "sum"))

    def sums(self, *values: float) -> tuple[float, ...]:
        """Sum of each number over all ranks."""
        if self.world == 1:
            return values
        return tuple(sum(of_all) for of_all in zip(*gather_object([values]), strict=True))

    def same(self, value: T) -> T:
        """Give the main process's value to all, who then decide alike."""
        return value if self.world == 1 else broadcast_object_list([value])[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block on all ranks; what stops one stops all, and one of them says it.

        Raises
        ------
        ElsewhereError
            If another rank says what stopped it.
        """
        if self.world == 1:
            yield
            return
        problem = None
        try:
            yield
        except Exception as error:  # noqa: BLE001  # it is raised again
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
    """Train together with the other processes that a launcher started, if one did.

    Only the main process logs. A block within a block is the same group.

    Parameters
    ----------
    runtime
        Device and precision.

    Yields
    ------
    The place of this process.

    Raises
    ------
    ResourceError
        If the device is not there, or another process of the group is gone.
    ElsewhereError
        If another process says what is wrong.
    """
    with _losses_told():
        try:
            ranks = Ranks.of(accelerator_of(runtime))
        except GimpError as error:  # of all processes of this machine
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
    """Take the group down when this process ends; not where others may be gone: that would wait."""
    if ranks.world > 1:
        atexit.register(PartialState().destroy_process_group)


@contextmanager
def _losses_told() -> Iterator[None]:
    """Say it in our words when the connection to another process fails."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        if isinstance(error, GimpError) or not lost:
            raise
        hint = "its own message, or the launcher's, says why; the same command then goes on"
        raise ResourceError("another process of this training is gone", hint=hint) from error


def _valued(own: Float[Tensor, ""], value: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A value with the gradient of another."""
    return value.to(own.dtype) + (own - own.detach())
