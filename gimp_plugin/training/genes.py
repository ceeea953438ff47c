"""Stage 1: supervised pre-training of the gene encoder on genes alone (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from gimp_plugin.config import GimpConfig
from gimp_plugin.data.batches import moved
from gimp_plugin.data.order import shuffled_batches
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.training.material import GENE_BATCH, Material, labels_of
from gimp_plugin.training.ranks import ALONE, Ranks
from gimp_plugin.training.scores import classification_scores
from gimp_plugin.training.stage import LOSS, Stage, Step, Terms, mean_cross_entropy


class GeneStage(Stage):
    """Train the gene encoder and a linear classifier on CLS_ge with the labels of the cases.

    Parameters
    ----------
    model
        A model with a gene encoder; its other parts are not trained.
    config
        The configuration; this stage reads the table `genes`.
    material
        The cases.
    seed
        Seed of the order.
    device
        Device of the model.
    ranks
        The processes that train together.
    """

    name = "genes"

    def __init__(
        self,
        model: GimpModel,
        config: GimpConfig,
        *,
        material: Material,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, config.genes, dim=config.model.dim, ranks=ranks)
        self.material, self.seed, self.device = material, seed, device
        self.dropout = config.model.embedding_dropout
        self.class_weights = material.class_weights(config.genes.class_weights, device=device)
        model.requires_grad_(False)
        for part in (model.gene_encoder, model.gene_classifier):
            part.requires_grad_(True)

    def n_batches(self) -> int:
        """Steps of an epoch."""
        return len(self._order(0))

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Genes and labels of the training cases, shuffled."""
        for indices in self._order(epoch)[skip:]:
            cases = [self.material.train[index] for index in indices]
            read, own = self.ranks.share(cases, filled=True), self.ranks.share(cases)
            inputs = {"genes": self.material.genes_of(read), "labels": labels_of(own)}
            yield Step([case.case_id for case in cases], moved(inputs, self.device))

    def forward(self, **inputs: Any) -> Terms:
        """Cross-entropy of the classifier on CLS_ge."""
        cls_ge = self.model.encode_genes(inputs["genes"])
        cls_ge = functional.dropout(cls_ge, self.dropout, self.training)
        logits = self.model.gene_classifier(cls_ge)
        return {LOSS: mean_cross_entropy(logits, inputs["labels"], self.ranks, self.class_weights)}

    def validate(self) -> dict[str, float]:
        """Loss and accuracies on the validation cases."""
        cases = self.material.val
        logits = [
            self.model.gene_classifier(
                self.model.encode_genes(self.material.genes_of(part).to(self.device))
            )
            for part in (cases[at : at + GENE_BATCH] for at in range(0, len(cases), GENE_BATCH))
        ]
        labels = labels_of(cases).to(self.device)
        return classification_scores(torch.cat(logits), labels, self.class_weights)

    def score(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """Negative validation loss: the epoch with the lowest loss is the best."""
        return (-metrics["val_loss"],)

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the cases of each batch."""
        size = self.settings.batch_size
        return shuffled_batches(len(self.material.train), size, seed=self.seed, epoch=epoch)
