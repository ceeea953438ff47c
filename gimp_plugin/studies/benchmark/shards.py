"""A comparison by several processes: which cells each does, and how they share the folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gimp_plugin.errors import ConfigError
from gimp_plugin.storage.locks import held, held_by_all
from gimp_plugin.studies.benchmark.folder import Place
from gimp_plugin.studies.benchmark.methods import method_of


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the cells: shard `number` of `n`, counted as by `gimp extract-features`.

    Parameters
    ----------
    number
        Number of the shard, from 0.
    n
        Number of shards.
    """

    number: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `I/N`.

        Parameters
        ----------
        text
            What the user typed.

        Returns
        -------
        The shard.

        Raises
        ------
        ConfigError
            If the text is not I/N with I from 0 to N - 1.

        Examples
        --------
        >>> Shard.parse("0/3")
        Shard(number=0, n=3)
        """
        number, _, n = text.partition("/")
        if not (number.isdecimal() and n.isdecimal() and int(number) < int(n)):
            problem = f"{text!r} is not a shard, expected I/N with I from 0 to N-1"
            raise ConfigError(problem, hint="for instance 0/4, 1/4, 2/4 and 3/4")
        return cls(int(number), int(n))

    def of(self, places: Sequence[Place]) -> tuple[Place, ...]:
        """Give the cells of this shard, in their order.

        The folds and seeds of a method are dealt to the shards in turn, then those of the next, so
        that each shard has its share of the methods that take long. Cells of one fold and seed
        that need each other stay together. Every shard of the same command finds the same division.

        Parameters
        ----------
        places
            All cells.

        Returns
        -------
        The cells of this shard; each cell is in exactly one shard.
        """
        names = tuple(dict.fromkeys(place.method for place in places))
        kin = {name: _first_of_kin(name, names) for name in names}
        together = [(kin[place.method], place.fold, place.seed) for place in places]
        dealt = sorted(dict.fromkeys(together), key=lambda one: names.index(one[0]))
        turn_of = {one: turn for turn, one in enumerate(dealt)}
        own = zip(places, together, strict=True)
        return tuple(place for place, one in own if turn_of[one] % self.n == self.number)


@contextmanager
def working(output: Path, shard: Shard | None) -> Iterator[None]:
    """Lock a comparison's folder: alone, or as one of the shards of one division.

    Parameters
    ----------
    output
        The folder.
    shard
        The shard; None for the whole comparison.

    Raises
    ------
    LockedError
        If another process does the same shard, the whole comparison, or a shard of another
        division.
    """
    purpose = f"alone {uuid.uuid4()}" if shard is None else f"{shard.n} shards"
    with ExitStack() as stack:
        stack.enter_context(held_by_all(output / ".lock", purpose))
        if shard is not None:
            stack.enter_context(held(output / f".shard-{shard.number}.lock"))
        yield


def in_turn(output: Path) -> AbstractContextManager[None]:
    """Lock briefly what all shards write: tables and the list of failures."""
    return held(output / ".turn.lock", wait=True)


def _first_of_kin(method: str, names: Sequence[str]) -> str:
    """First of the methods that must stay with a method because one needs the other."""
    kin = {method}
    while True:
        found = kin | {need for name in kin for need in method_of(name).needs}
        found |= {name for name in names if kin & {*method_of(name).needs}}
        if found == kin:
            return next(name for name in names if name in kin)
        kin = found
