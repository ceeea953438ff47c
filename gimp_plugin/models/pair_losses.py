"""Losses of pre-training with pairs: the slides and genes of a case belong together."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def contrastive_loss(
    slides: Float[Tensor, "batch dim"],
    genes: Float[Tensor, "batch dim"],
    *,
    temperature: float,
    slides_share: float = 0.5,
) -> Float[Tensor, ""]:
    """InfoNCE in both directions: find a case's genes in the batch by its slides, and vice versa.

    Parameters
    ----------
    slides, genes
        Embeddings of the two halves of each case, of any norm: their cosines are compared.
    temperature
        Divisor of the cosines.
    slides_share
        Weight of finding the genes by the slides; finding the slides by the genes has the rest.

    Returns
    -------
    Mean cross-entropy; 0 for a single case, which has nothing to be distinguished from.

    Examples
    --------
    >>> one_hot = torch.eye(2)
    >>> round(contrastive_loss(one_hot, one_hot, temperature=1.0).item(), 4)  # log(1 + 1 / e)
    0.3133
    """
    cosines = functional.normalize(slides) @ functional.normalize(genes).T
    scores, own = cosines / temperature, torch.arange(len(slides), device=slides.device)
    of_slides = functional.cross_entropy(scores, own)
    return slides_share * of_slides + (1 - slides_share) * functional.cross_entropy(scores.T, own)


def retrieval(slides: Float[Tensor, "batch dim"], genes: Float[Tensor, "batch dim"]) -> float:
    """How often a half is nearer to the other half of its own case than to that of another case.

    Parameters
    ----------
    slides, genes
        Embeddings of the two halves of each of two or more cases.

    Returns
    -------
    Mean share over cases and both directions: 1 if each half finds its own first, 0.5 by chance.

    Examples
    --------
    >>> retrieval(torch.eye(3), torch.eye(3)), retrieval(torch.eye(3), torch.ones(3, 3))
    (1.0, 0.5)
    """
    cosines = functional.normalize(slides) @ functional.normalize(genes).T
    own = cosines.diagonal()
    behind = [
        (others < rearrange(own, "i -> i 1")).sum()
        + (others == rearrange(own, "i -> i 1")).sum() / 2
        for others in (cosines, cosines.T)
    ]
    n_cases = len(cosines)  # each case ties with itself
    return float(sum(behind) - n_cases) / (2 * n_cases * (n_cases - 1))


def squared_error(
    predicted: Float[Tensor, "batch gene"],
    genes: Float[Tensor, "batch gene"],
    hidden: Bool[Tensor, "batch gene"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean squared error of the genes of each case.

    Parameters
    ----------
    predicted
        Expression that the model predicts.
    genes
        Standardised expression: predicting the mean of the training cases has an error of about 1.
    hidden
        Genes that count; all by default. A case in which none counts has an error of 0.

    Returns
    -------
    One error per case.

    Examples
    --------
    >>> genes = torch.zeros(1, 3)
    >>> squared_error(torch.tensor([[1.0, 2.0, 5.0]]), genes, torch.tensor([[True, True, False]]))
    tensor([2.5000])
    """
    errors = (predicted - genes).square()
    if hidden is None:
        return errors.mean(dim=1)
    return torch.where(hidden, errors, 0.0).sum(dim=1) / hidden.sum(dim=1).clamp(min=1)


def token_alignment(
    tokens: Float[Tensor, "batch patch dim"],
    others: Float[Tensor, "batch group dim"],
    *,
    valid: Bool[Tensor, "batch patch"],
    valid_others: Bool[Tensor, "batch group"],
    temperature: float,
) -> Float[Tensor, " batch"]:
    """Contrast the tokens of one half with what they attend to in the other (MGCA, section 3.3).

    A token attends to the other half's tokens by their cosines. The result must be closer to this
    token than the results of the case's other tokens are, and vice versa.

    Parameters
    ----------
    tokens, others
        Tokens of the two halves of each case, of any norm.
    valid, valid_others
        True for tokens that exist.
    temperature
        Divisor of the cosines, in the attention and in the comparison.

    Returns
    -------
    Mean cross-entropy of the tokens of each case, in both directions; 0 for fewer than two tokens.
    """
    tokens, others = functional.normalize(tokens, dim=-1), functional.normalize(others, dim=-1)
    cosines = einsum(tokens, others, "b n d, b m d -> b n m") / temperature
    attention = _masked(cosines, rearrange(valid_others, "b m -> b 1 m")).softmax(dim=-1)
    seen = functional.normalize(einsum(attention, others, "b n m, b m d -> b n d"), dim=-1)
    scores = einsum(tokens, seen, "b n d, b k d -> b n k") / temperature
    own = [
        torch.diagonal(
            _masked(one, rearrange(valid, "b n -> b 1 n")).log_softmax(-1), dim1=1, dim2=2
        )
        for one in (scores, rearrange(scores, "b n k -> b k n"))
    ]
    losses = torch.where(valid, -(own[0] + own[1]) / 2, 0.0)
    return losses.sum(dim=1) / valid.sum(dim=1).clamp(min=1)


@torch.no_grad()
def soft_codes(
    scores: Float[Tensor, "batch class"], *, epsilon: float, n_iterations: int
) -> Float[Tensor, "batch class"]:
    """Share of each prototype in each case, all prototypes used equally (Sinkhorn and Knopp).

    Parameters
    ----------
    scores
        Cosine of each case and each prototype.
    epsilon
        The smaller, the harder the assignment.
    n_iterations
        How often prototypes and cases are scaled in turn.

    Returns
    -------
    Shares that sum to 1 for each case, without a gradient.
    """
    scaled = (scores - scores.max()) / epsilon  # so that the largest is 1 after exp
    codes = scaled.exp()
    for _ in range(n_iterations):
        codes = codes / (codes.sum(dim=0, keepdim=True) * codes.shape[1])
        codes = codes / codes.sum(dim=1, keepdim=True)
    return codes


def prototype_loss(
    scores: Float[Tensor, "batch class"],
    codes: Float[Tensor, "batch class"],
    *,
    temperature: float,
) -> Float[Tensor, " batch"]:
    """Cross-entropy of one half's prototypes with the codes of the other half.

    Parameters
    ----------
    scores
        Cosine of each case's half and each prototype.
    codes
        Shares from `soft_codes` for the other half.
    temperature
        Divisor of the cosines.

    Returns
    -------
    One value per case.
    """
    return -(codes * (scores / temperature).log_softmax(dim=-1)).sum(dim=-1)


def _masked(scores: Float[Tensor, "batch _ other"], valid: Bool[Tensor, "batch 1 other"]) -> Tensor:
    """Scores, with those that do not count set so low that a softmax gives them nothing."""
    return scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
