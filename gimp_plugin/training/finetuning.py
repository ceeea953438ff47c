"""Stage 3: classification on CLS_pat (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gimp_plugin.assembly.seeding import derived
from gimp_plugin.config import FinetuneConfig, GimpConfig
from gimp_plugin.data.batches import Batch, load, moved, subset_draw
from gimp_plugin.data.cases import Case
from gimp_plugin.data.chunks import load_chunks
from gimp_plugin.data.order import shuffled_batches
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.training.material import Material, encoded_genes, labels_of
from gimp_plugin.training.ranks import ALONE, Ranks
from gimp_plugin.training.scores import classification_scores
from gimp_plugin.training.stage import LOSS, Stage, Step, Terms, mean_cross_entropy


class FinetuneStage(Stage):
    """Train the image half, the fusion and the head; a pre-trained gene encoder stays frozen.

    Parameters
    ----------
    model
        The model.
    config
        The configuration; this stage reads the table `finetune`.
    material
        The cases.
    seed
        Seed of the order, the patch subsets and the dropout of halves.
    device
        Device of the model.
    num_workers
        Number of loader processes.
    frozen_genes
        Whether the gene encoder is not trained; CLS_ge is then computed once.
    ranks
        The processes that train together.
    """

    name = "finetune"
    settings: FinetuneConfig

    def __init__(
        self,
        model: GimpModel,
        config: GimpConfig,
        *,
        material: Material,
        seed: int,
        device: torch.device,
        num_workers: int = 0,
        frozen_genes: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, config.finetune, dim=config.model.dim, ranks=ranks)
        self.material, self.seed, self.device = material, seed, device
        self.num_workers = num_workers
        self.class_weights = material.class_weights(config.finetune.class_weights, device=device)
        model.requires_grad_(True)
        model.to(device)
        self.has_slides = config.model.has_slides
        self.frozen_genes = frozen_genes and model.gene_encoder is not None
        if model.gene_classifier is not None:
            model.gene_classifier.requires_grad_(False)
        if self.frozen_genes:
            model.gene_encoder.requires_grad_(False)
            self.cls_ge = {
                part: encoded_genes(model, material, cases, device)
                for part, cases in (("train", material.train), ("val", material.val))
            }

    def train(self, mode: bool = True) -> FinetuneStage:  # noqa: FBT001, FBT002  # nn.Module's
        """Set the mode; a frozen gene encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen_genes:
            self.model.gene_encoder.eval()
        return self

    def n_batches(self) -> int:
        """Steps of an epoch."""
        return len(self._order(0))

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Random subsets of the patches of training cases, with some halves dropped."""
        cases, order = self.material.train, self._order(epoch)[skip:]
        read = [self.ranks.share(indices, filled=True) for indices in order]
        for indices, (members, batch) in zip(order, self._loaded(read, epoch), strict=True):
            whole = [cases[index] for index in indices]
            inputs = self._inputs(members, "train", self._kept_halves(members, epoch))
            inputs |= {"labels": labels_of(self.ranks.share(whole))}
            if batch is not None:
                inputs |= self._patches(batch)
            yield Step([case.case_id for case in whole], moved(inputs, self.device))

    def forward(self, **inputs: Any) -> Terms:
        """Cross-entropy of the head on CLS_pat."""
        cls_img = None
        if "features" in inputs:
            cls_img = self.model.encode_at(inputs["features"], inputs["places"]).cls_img
        logits = self._logits(cls_img, inputs)
        return {LOSS: mean_cross_entropy(logits, inputs["labels"], self.ranks, self.class_weights)}

    def validate(self) -> dict[str, float]:
        """Loss and accuracies on the validation cases."""
        labels = labels_of(self.material.val).to(self.device)
        return classification_scores(self.val_logits(), labels, self.class_weights)

    def val_logits(self) -> Float[Tensor, "batch class"]:
        """Logits of the validation cases, one at a time, with all patches and halves of each."""
        cases = self.material.val
        own, logits = self.ranks.share(cases, filled=True), []
        for case, chunks in load_chunks(own, device=self.device, num_workers=self.num_workers):
            inputs = moved(self._inputs([case], "val", _own_halves([case])), self.device)
            cls_img = None
            if case.has_slides:
                cls_img = self.model.stream_slides(chunks, [bag.n_patches for bag in case.bags])
            logits.append(self._logits(cls_img, inputs))
        return self.ranks.rows(torch.cat(logits), len(cases))

    def score(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """Balanced accuracy, then the lower loss; or accuracy alone, as in the paper."""
        if self.settings.choose_by == "accuracy":
            return (metrics["val_accuracy"],)
        return (metrics["val_balanced_accuracy"], -metrics["val_loss"])

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the cases of each batch."""
        size = self.settings.batch_size
        return shuffled_batches(len(self.material.train), size, seed=self.seed, epoch=epoch)

    def _patches(self, batch: Batch) -> dict[str, Any]:
        """Arguments of `forward` for slides."""
        places = self.model.places(batch.valid, slide=batch.slide)
        return {"features": batch.features, "places": places}

    def _loaded(
        self, order: Sequence[Sequence[int]], epoch: int
    ) -> Iterator[tuple[list[Case], Batch | None]]:
        """Training cases of each batch, with their patches if the model has an image half."""
        cases = self.material.train
        if not self.has_slides:
            yield from (([cases[index] for index in indices], None) for indices in order)
            return
        batches = load(
            cases,
            order,
            subset_draw(self.settings),
            feature_dim=self.material.feature_dim,
            seed=self.seed,
            epoch=epoch,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        for batch in batches:
            yield [cases[index] for index in batch.case.tolist()], batch

    def _inputs(
        self, members: Sequence[Case], part: str, halves: dict[str, Tensor]
    ) -> dict[str, Any]:
        """Arguments of `forward` except slides and labels."""
        if self.material.genes is None:
            return dict(halves)
        if not self.frozen_genes:
            return {**halves, "genes": self.material.genes_of(members)}
        cases = self.material.train if part == "train" else self.material.val
        position = {case.case_id: index for index, case in enumerate(cases)}
        rows = torch.tensor([position[case.case_id] for case in members])
        return {**halves, "cls_ge": self.cls_ge[part][moved(rows, self.device)]}

    def _logits(self, cls_img: Tensor | None, inputs: dict[str, Any]) -> Tensor:
        """Logits of a batch of cases."""
        cls_ge = inputs.get("cls_ge")
        if cls_ge is None and "genes" in inputs:
            cls_ge = self.model.encode_genes(inputs["genes"])
        return self.model.classify(cls_img, cls_ge, inputs["has_slides"], inputs["has_genes"])

    def _kept_halves(self, members: Sequence[Case], epoch: int) -> dict[str, Tensor]:
        """Halves of each case that this step uses, always at least one."""
        own = _own_halves(members)
        draws = torch.stack(
            [
                torch.rand(
                    2,
                    generator=torch.Generator().manual_seed(
                        derived(self.seed, "halves", epoch, case.case_id)
                    ),
                )
                for case in members
            ]
        )
        both = own["has_slides"] & own["has_genes"]
        drop_genes = both & (draws[:, 0] < self.settings.gene_dropout)
        drop_slides = both & ~drop_genes & (draws[:, 1] < self.settings.image_dropout)
        return {
            "has_slides": own["has_slides"] & ~drop_slides,
            "has_genes": own["has_genes"] & ~drop_genes,
        }


def _own_halves(members: Sequence[Case]) -> dict[str, Bool[Tensor, " batch"]]:
    """Halves that each case has."""
    return {
        "has_slides": torch.tensor([case.has_slides for case in members]),
        "has_genes": torch.tensor([case.has_genes for case in members]),
    }
