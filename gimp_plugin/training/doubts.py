"""What the figures of a training say against it, for its log and for the report of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def doubts_of_pretraining(last: Mapping[str, float], *, weight: float) -> Iterator[str]:
    """Say from which term of the pre-training loss the model learned nothing.

    Parameters
    ----------
    last
        Metrics of the last epoch; other trainers have others.
    weight
        `reconstruction_weight` of the pre-training.

    Yields
    ------
    Sentences without a full stop.

    Examples
    --------
    >>> list(doubts_of_pretraining({"active_image": 0.0}, weight=1.0))
    ['active_image is 0: no triplet violates the margin, the term gives no gradient']
    """
    error, median = last.get("val_reconstruction"), last.get("val_median")
    if weight and error is not None and median is not None and error >= median:
        yield (
            f"masked patch modeling did not beat the bag's median (L_rec {error:.4g}, median "
            f"{median:.4g}): the image half has learned little from it"
        )
    for name in ("active_patient", "active_image"):
        if last.get(name) == 0:
            yield f"{name} is 0: no triplet violates the margin, the term gives no gradient"
