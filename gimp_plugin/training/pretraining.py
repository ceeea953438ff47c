"""Stage 2: masked patch modeling and gene-induced triplets (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from gimp_plugin.assembly.seeding import derived
from gimp_plugin.config import GimpConfig
from gimp_plugin.data.batches import Batch, moved
from gimp_plugin.data.cases import Case
from gimp_plugin.data.order import balanced_batches
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.losses import masked_l1, patient_embedding, triplet_loss
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.places import Picked, SlideEncoding
from gimp_plugin.training.material import Material, encoded_genes, labels_of
from gimp_plugin.training.ranks import ALONE, Ranks
from gimp_plugin.training.stage import LOSS, Step, Terms
from gimp_plugin.training.windows import VALIDATION_EPOCH, WindowStage, first_copies


class PretrainStage(WindowStage):
    """Train the image half; the gene encoder is frozen and CLS_ge is computed once.

    Parameters
    ----------
    model
        A model with patches, aggregator and decoder.
    config
        The configuration; this stage reads the table `pretrain`.
    material
        The cases.
    seed
        Seed of the order, the windows and the masks.
    device
        Device of the model.
    num_workers
        Number of loader processes.
    ranks
        The processes that train together.
    """

    def __init__(
        self,
        model: GimpModel,
        config: GimpConfig,
        *,
        material: Material,
        seed: int,
        device: torch.device,
        num_workers: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(
            model,
            config,
            material=material,
            seed=seed,
            device=device,
            num_workers=num_workers,
            ranks=ranks,
        )
        for part in (model.patches, model.aggregator, model.decoder):
            part.requires_grad_(True)
        self.cls_ge: dict[str, Tensor] = {}
        if model.gene_encoder is not None:
            self.cls_ge = {
                part: encoded_genes(model, material, cases, device)
                for part, cases in (("train", material.train), ("val", material.val))
            }
        self.median: float | None = None

    def train(self, mode: bool = True) -> PretrainStage:  # noqa: FBT001, FBT002  # nn.Module's
        """Set the mode; the frozen gene encoder stays in evaluation mode."""
        super().train(mode)
        if self.model.gene_encoder is not None:
            self.model.gene_encoder.eval()
        return self

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Masked windows of training cases, class-balanced among those with a label."""
        yield from self._steps("train", self._order(epoch)[skip:], epoch, self.ranks)

    def forward(self, **inputs: Any) -> Terms:
        """L_pre = L_rec + L_tri, with both terms and statistics of the triplets."""
        encoded = self._encode(inputs)
        cls_img = self.ranks.rows(encoded.cls_img, len(inputs["labels"]))
        terms: Terms = {"reconstruction": self._reconstruction(encoded)}
        total = self.settings.reconstruction_weight * terms["reconstruction"]
        for name, (weight, embedding, labels) in self._spaces(cls_img, inputs).items():
            triplet = triplet_loss(embedding, labels, margin=self.settings.margin)
            total = total + weight * triplet.loss
            terms |= {
                f"triplet_{name}": triplet.loss,
                f"active_{name}": triplet.active_share,
                f"positive_{name}": triplet.positive_distance,
                f"negative_{name}": triplet.negative_distance,
            }
        return {LOSS: total, **{name: value.detach() for name, value in terms.items()}}

    def validate(self) -> dict[str, float]:
        """L_rec on fixed windows of the validation cases, and the error of the bag's median."""
        size, own = self.settings.batch_size, self.ranks.share(range(len(self.material.val)))
        order = [own[at : at + size] for at in range(0, len(own), size)]
        errors, medians, n_values = 0.0, 0.0, 0.0
        for step in self._steps("val", order, VALIDATION_EPOCH, ALONE):
            encoded = self._encode(step.inputs)
            errors += float(masked_l1(encoded.reconstructed, encoded.target, reduction="sum"))
            n_values += encoded.target.numel()
            if self.median is None:
                medians += self._median_error(step.inputs)
        errors, medians, n_values = self.ranks.sums(errors, medians, n_values)
        n_values = max(1.0, n_values)  # both are 0 if the bags are too short to hide a patch
        if self.median is None:
            self.median = medians / n_values
        return {"val_reconstruction": errors / n_values, "val_median": self.median}

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the cases of each batch."""
        labels = [case.label for case in self.material.train]
        return balanced_batches(labels, self.settings.batch_size, seed=self.seed, epoch=epoch)

    def _steps(
        self, part: str, order: Sequence[Sequence[int]], epoch: int, ranks: Ranks
    ) -> Iterator[Step]:
        """Load windows, draw their masks and move both to the device."""
        loaded = self._windows(part, order, epoch, ranks)
        for indices, (whole, members, batch) in zip(order, loaded, strict=True):
            masked = self._masked(batch, members, epoch)
            if not ranks.share(indices):
                masked = torch.zeros_like(masked)
            inputs = {
                "features": batch.features,
                "places": self.model.places(
                    batch.valid,
                    slide=batch.slide,
                    masked=masked,
                    counted=masked & first_copies(batch.source),
                ),
                "labels": labels_of(whole),
                "has_genes": torch.tensor([case.has_genes for case in whole]),
                "cls_ge": None,
            }
            inputs = moved(inputs, self.device)
            if part in self.cls_ge:
                inputs["cls_ge"] = self.cls_ge[part][moved(torch.tensor(indices), self.device)]
            yield Step([case.case_id for case in whole], inputs)

    def _masked(
        self, batch: Batch, members: Sequence[Case], epoch: int
    ) -> Bool[Tensor, "batch patch"]:
        """Draw the patches that are hidden, independently for each case."""
        generators = [
            torch.Generator().manual_seed(derived(self.seed, "mask", epoch, case.case_id))
            for case in members
        ]
        return draw_mask(batch.valid, self.settings.mask_ratio, generators, source=batch.source)

    def _encode(self, inputs: dict[str, Any]) -> SlideEncoding:
        """Encode masked windows; each source patch is reconstructed once."""
        return self.model.encode_at(inputs["features"], inputs["places"])

    def _reconstruction(self, encoded: SlideEncoding) -> Float[Tensor, ""]:
        """L_rec (equation 3) of the whole batch."""
        (_, predicted, target), reduction = encoded, self.settings.reconstruction
        if self.ranks.world == 1:
            return masked_l1(predicted, target, reduction=reduction)
        total = masked_l1(predicted, target, reduction="sum")
        if reduction == "sum":
            return self.ranks.sum(total)
        return self.ranks.mean(total, target.numel())

    def _spaces(
        self, cls_img: Float[Tensor, "batch dim"], inputs: dict[str, Any]
    ) -> dict[str, tuple[float, Tensor, Tensor]]:
        """Weight, embedding and labels of each space in which triplets are formed."""
        settings, spaces, labels = self.settings, {}, inputs["labels"]
        if inputs["cls_ge"] is not None and settings.patient_triplet_weight:
            patient = patient_embedding(
                cls_img, inputs["cls_ge"], normalise=settings.normalise_halves
            )
            paired = labels.where(inputs["has_genes"], -1)  # the others have no place there
            spaces["patient"] = (settings.patient_triplet_weight, patient, paired)
        if settings.image_triplet_weight:
            image = cls_img
            if settings.normalise_halves:
                image = functional.normalize(image, dim=-1)
            spaces["image"] = (settings.image_triplet_weight, image, labels)
        return spaces

    def _median_error(self, inputs: dict[str, Any]) -> float:
        """Summed error of predicting each masked patch by the median of the visible patches."""
        values = self.model.patches.normalise(inputs["features"])
        hidden, seen = inputs["places"].wanted, inputs["places"].visible
        return sum(
            float((bag[_of(row, hidden)] - bag[_of(row, seen)].median(dim=0).values).abs().sum())
            for row, bag in enumerate(values)
        )


def _of(row: int, index: Picked) -> Int[Tensor, " patch"]:
    """Patches of one case of the batch."""
    return index[1][index[0] == row]
