"""Run a model over cases, one case at a time, each with all its patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from gimp_plugin.assembly.device import device_of, precision_of
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.data.chunks import load_chunks
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.storage.runs import RunRecord

Encode = Callable[[Iterable[Tensor], Sequence[int]], Tensor]
"""Turns chunks of the features of a case, and the patch count of each slide, into CLS_img."""

Given = Callable[[Tensor | None, Tensor | None, Tensor, Tensor], Tensor]
"""Turns CLS_img, CLS_ge (None if missing) and whether each is there, shape (1,), into a result."""


def each_case(
    model: GimpModel,
    cases: Sequence[Case],
    *,
    genes: Tensor | None,
    give: Given,
    runtime: Runtime,
    title: str = "",
    encode: Encode | None = None,
) -> Iterator[tuple[Case, Tensor]]:
    """Encode cases one at a time, so that no result depends on the other cases.

    Parameters
    ----------
    model
        The model of a run; it is moved to the device.
    cases
        The cases; slides are read chunk by chunk.
    genes
        Standardised expression by `Case.gene_row`, shape (row, gene); None to use no genes.
    give
        Function of the two halves, for instance `model.classify`.
    runtime
        Device, precision and loader processes.
    title
        Title of the progress bar; an empty title shows no bar.
    encode
        Function that encodes the slides, in place of `model.stream_slides`.

    Yields
    ------
    Each case and the result of `give` for it, without the batch dimension, on the CPU.
    """
    device = device_of(runtime)
    model.to(device).eval()
    mixed = precision_of(runtime) == "bf16"
    loaded = load_chunks(cases, device=device, num_workers=runtime.num_workers)
    for case, chunks in tqdm(loaded, desc=title, total=len(cases), disable=None if title else True):
        has_genes = genes is not None and case.has_genes
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            cls_img = cls_ge = None
            if case.has_slides:
                cls_img = (encode or model.stream_slides)(
                    chunks, [bag.n_patches for bag in case.bags]
                )
            if genes is not None and has_genes:
                cls_ge = model.encode_genes(genes[case.gene_row][None].to(device))
            halves = [torch.tensor([here], device=device) for here in (case.has_slides, has_genes)]
            result = give(cls_img, cls_ge, *halves)
        yield case, result[0].cpu()


def needed_halves(record: RunRecord) -> tuple[str, ...]:
    """Halves that a run cannot predict without: `slides`, `genes`, both or none."""
    model, settings = record.config.model, record.config.finetune
    tuned = record.kind == "finetune"
    if model.system:
        return tuple(model.modalities.split("+"))
    needed = []
    if model.has_slides and not (model.has_genes and tuned and settings.image_dropout):
        needed.append("slides")
    if model.has_genes and not (model.has_slides and tuned and settings.gene_dropout):
        needed.append("genes")
    return tuple(needed)
