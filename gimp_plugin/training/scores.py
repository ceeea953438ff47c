"""Validation metrics of an epoch."""

from __future__ import annotations

from jaxtyping import Float, Int
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch import Tensor
from torch.nn import functional


def classification_scores(
    logits: Float[Tensor, "batch class"],
    labels: Int[Tensor, " batch"],
    weights: Float[Tensor, " class"] | None = None,
) -> dict[str, float]:
    """Cross-entropy, accuracy and balanced accuracy of a set of cases.

    Parameters
    ----------
    logits
        Logits of the cases.
    labels
        Class indices.
    weights
        Weights of the classes in the cross-entropy, as in training.

    Returns
    -------
    `val_loss`, `val_accuracy`, `val_balanced_accuracy`.
    """
    predicted, true = logits.argmax(dim=1).cpu().numpy(), labels.cpu().numpy()
    return {
        "val_loss": float(functional.cross_entropy(logits.float(), labels, weights)),
        "val_accuracy": float(accuracy_score(true, predicted)),
        "val_balanced_accuracy": float(balanced_accuracy_score(true, predicted)),
    }
