"""The self-normalising network against its definition, as a system and as a gene encoder."""

from __future__ import annotations

import math

import pytest
import torch

from gimp_plugin.models.snn import SelfNormalising, SNNEncoder
from gimp_plugin.models.systems.snn import SNN
from tests.model_factory import draw, small_config

SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def selu(value):
    """Equation 1 of Klambauer et al."""
    return SCALE * (value if value > 0 else ALPHA * (math.exp(value) - 1))


def test_the_logits_are_two_layers_of_selu_and_a_linear_one():
    torch.manual_seed(0)
    config = small_config(modalities="genes", system="snn")
    snn = SNN.from_config(config, feature_dim=0, n_genes=7, n_classes=3).double().eval()
    genes = draw(7)

    logits = snn(None, genes)

    values = genes.tolist()
    for linear in (snn.layers[0], snn.layers[3], snn.head):
        rows = zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
        sums = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in rows]
        values = sums if linear is snn.head else [selu(one) for one in sums]
    assert logits.tolist() == pytest.approx(values, abs=1e-12)


def test_standardised_genes_stay_standardised_through_many_layers():
    torch.manual_seed(0)
    sizes = (400,) * 9
    layers = SelfNormalising(sizes, dropout=0.25)

    values = layers.train()(draw(300, 400, dtype=torch.float32)).detach()

    assert float(values.mean()) == pytest.approx(0, abs=0.1)
    assert float(values.var()) == pytest.approx(1, abs=0.15)


def test_as_a_gene_encoder_it_gives_cls_ge_of_each_case():
    encoder = SNNEncoder.from_config(small_config(), n_genes=13).eval()
    genes = draw(3, 13, dtype=torch.float32)

    cls_ge = encoder(genes)

    assert cls_ge.shape == (3, encoder.dim) == (3, 20)
    torch.testing.assert_close(torch.stack([encoder(one) for one in genes]), cls_ge)
