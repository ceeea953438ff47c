"""What is compared: which methods, on which folds and seeds, and in which regime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gimp_plugin.config.checks import require_range
from gimp_plugin.config.stages import LARGE
from gimp_plugin.errors import ConfigError, did_you_mean

FULL, LABELS, GENES = "full", "labels", "genes"
UNLABELLED = "+unlabelled"
REGIMES = "full, labels:K, labels:K+unlabelled or genes:K"
ALL = "all"
MAX_SEEDS = 1000
FEWEST = 3
"""Minimum epochs of the training with the most stages: one per stage."""


@dataclass(frozen=True, slots=True)
class Regime:
    """What all methods may learn from.

    Parameters
    ----------
    kind
        `full`; `labels` keeps some training cases of each class, `genes` some genes.
    count
        Number of cases or genes to keep; 0 with `full`.
    unlabelled
        With `labels`: keep the other training cases, without their labels, for pre-training.
    """

    kind: str = FULL
    count: int = 0
    unlabelled: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `full`, `labels:K`, `labels:K+unlabelled` or `genes:K`.

        Parameters
        ----------
        text
            What the user typed.

        Returns
        -------
        The regime.

        Raises
        ------
        ConfigError
            If the text is none of these, or K is not a whole number above 0.

        Examples
        --------
        >>> Regime.parse("labels:20")
        Regime(kind='labels', count=20, unlabelled=False)
        """
        kind, colon, count = text.partition(":")
        unlabelled = kind == LABELS and count.endswith(UNLABELLED)
        count = count.removesuffix(UNLABELLED) if unlabelled else count
        if kind == FULL and not colon:
            return cls()
        if kind not in {LABELS, GENES}:
            problem = f"unknown regime {text!r}{did_you_mean(kind, (FULL, LABELS, GENES))}"
            raise ConfigError(problem, hint=f"give {REGIMES}")
        if not count.isdecimal() or int(count) < 1:
            problem = f"regime {text!r} needs a number above 0, as in {kind}:20"
            raise ConfigError(problem, hint=f"give {REGIMES}")
        return cls(kind, int(count), unlabelled)

    def __str__(self) -> str:
        """Give the regime as a user types it."""
        counted = f"{self.kind}:{self.count}" if self.count else self.kind
        return counted + (UNLABELLED if self.unlabelled else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The design of a comparison.

    Parameters
    ----------
    methods
        Names of methods; `all` means all except those that take part by name only, `table1` and
        `table2` the rows of the paper's tables.
    folds
        Folds to run; empty runs every fold of the splits.
    n_seeds
        Number of trainings per fold, with consecutive seeds.
    regime
        `full`, `labels:K` (that many training cases of each class), `labels:K+unlabelled` (the
        others stay without their label) or `genes:K` (random genes).
    reference
        Method that the others are tested against; if empty, `gimp` if it takes part, else the
        first.
    epochs
        Maximum total of each network, divided between its stages in the proportions of the
        configuration. None keeps the epochs of the configuration.
    """

    methods: tuple[str, ...] = (ALL,)
    folds: tuple[str, ...] = ()
    n_seeds: int = 1
    regime: str = FULL
    reference: str = ""
    epochs: int | None = None

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        require_range("seeds", self.n_seeds, low=1, high=MAX_SEEDS)
        Regime.parse(self.regime)
        require_range("epochs", self.epochs, low=FEWEST, high=LARGE)
