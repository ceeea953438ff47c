"""The whole model: both presets, missing halves, what leaks and what learns."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.heads import linear
from gimp_plugin.models.losses import masked_l1, patient_embedding, triplet_loss
from gimp_plugin.models.masking import draw_mask
from tests.model_factory import FEATURE_DIM, N_GENES, draw, make_model, prefix, small_config

LENGTHS = [1, 4, 9, 23]
LABELS = torch.tensor([0, 1, 0, 1])


def make_batch() -> dict[str, torch.Tensor]:
    """Patches of four cases, the third with two slides."""
    valid = prefix(LENGTHS)
    slide = torch.zeros_like(valid, dtype=torch.long)
    slide[2, 5:9] = 1
    return {
        "features": draw(4, 23, FEATURE_DIM, dtype=torch.float32),
        "valid": valid,
        "slide": slide,
    }


def make_mask(valid: torch.Tensor) -> torch.Tensor:
    """Half of each bag."""
    return draw_mask(valid, 0.5, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize("aggregator", ["nystrom", "nystrom-reference"])
def test_every_part_learns_from_the_losses(preset, aggregator):
    model, batch = make_model(small_config(preset, aggregator=aggregator)), make_batch()
    genes = draw(4, N_GENES, dtype=torch.float32)

    encoded = model.encode_slides(**batch, masked=make_mask(batch["valid"]))
    cls_ge = model.encode_genes(genes)
    present = torch.tensor([True, True, True, False])
    logits = model.classify(encoded.cls_img, cls_ge, present.flip(0), present)
    loss = functional.cross_entropy(logits, LABELS)
    loss = loss + functional.cross_entropy(model.gene_classifier(cls_ge), LABELS)
    loss = loss + masked_l1(encoded.reconstructed, encoded.target)
    loss.backward()

    silent = [name for name, p in model.named_parameters() if not (p.grad != 0).any()]
    assert silent == []


def test_masked_patches_are_the_targets_and_leak_nowhere():
    model, batch = make_model(small_config()).eval(), make_batch()
    masked = make_mask(batch["valid"])
    other = torch.where(masked[..., None], batch["features"].flip(1), batch["features"])

    encoded = model.encode_slides(**batch, masked=masked)
    unseen = model.encode_slides(**{**batch, "features": other}, masked=masked)

    normal = functional.layer_norm(batch["features"], (FEATURE_DIM,))
    assert torch.equal(encoded.target, normal[masked])
    assert torch.equal(encoded.reconstructed, unseen.reconstructed)
    assert torch.equal(encoded.cls_img, unseen.cls_img)


def test_counted_patches_are_some_of_the_masked():
    model, batch = make_model(small_config()).eval(), make_batch()
    masked = make_mask(batch["valid"])
    counted = masked & (torch.arange(23) < 9)

    some = model.encode_slides(**batch, masked=masked, counted=counted)

    every = model.encode_slides(**batch, masked=masked)
    kept = counted[masked]
    torch.testing.assert_close(some.reconstructed, every.reconstructed[kept], rtol=0, atol=2e-6)
    assert torch.equal(some.target, every.target[kept])


def test_without_a_mask_nothing_is_reconstructed():
    encoded = make_model(small_config()).encode_slides(**make_batch())

    assert encoded.reconstructed.shape == encoded.target.shape == (0, FEATURE_DIM)


def test_a_forward_of_somebody_else_gets_the_masks_and_no_plan_of_ours():
    class Mean(NystromAggregator):
        def forward(self, tokens, valid, *, slide=None, rows=None):
            return (tokens * valid[..., None]).sum(dim=1), tokens[rows]

    model, batch = make_model(small_config()).eval(), make_batch()
    model.aggregator = Mean(small_config())
    masked = make_mask(batch["valid"])

    encoded = model.encode_slides(**batch, masked=masked)

    hidden = model.decoder(model.patches.mask_token.expand(int(masked.sum()), -1))
    assert torch.equal(encoded.reconstructed, hidden)


@pytest.mark.parametrize("preset", ["recommended", "paper"])
def test_a_case_has_the_same_cls_alone_and_in_a_batch(preset):
    model, batch = make_model(small_config(preset)).eval(), make_batch()

    cls_img = model.encode_slides(**batch).cls_img

    for case, length in enumerate(LENGTHS):
        alone = {name: value[case : case + 1, :length] for name, value in batch.items()}
        own = model.encode_slides(**alone).cls_img
        torch.testing.assert_close(own, cls_img[case : case + 1], rtol=0, atol=2e-6)


def test_a_cached_cls_ge_is_the_live_one():
    model, genes = make_model(small_config()).eval(), draw(4, N_GENES, dtype=torch.float32)
    with torch.no_grad():
        cached = model.encode_genes(genes)

    model.train()
    model.gene_encoder.eval()

    assert torch.equal(model.encode_genes(genes), cached)


def image_gradient(model, batch, cls_ge, *, image_triplet: bool) -> float:
    """Largest gradient that triplets give the aggregator's CLS at the first step."""
    encoded = model.encode_slides(**batch, masked=make_mask(batch["valid"]))
    embedding = (
        functional.normalize(encoded.cls_img)
        if image_triplet
        else patient_embedding(encoded.cls_img, cls_ge, normalise=True)
    )
    model.zero_grad()
    triplet_loss(embedding, LABELS, margin=0.8).loss.backward()
    return float(model.aggregator.cls_token.grad.abs().max())


def test_the_image_triplet_is_alive_where_the_genes_already_tell_the_classes_apart():
    model, batch = make_model(small_config()), make_batch()
    apart = (2.0 * LABELS - 1)[:, None].expand(4, 20)

    assert image_gradient(model, batch, apart, image_triplet=False) == 0.0
    assert image_gradient(model, batch, apart, image_triplet=True) > 1e-6


@pytest.mark.parametrize("modalities", ["slides", "genes"])
def test_a_model_of_one_half_classifies(modalities):
    model = make_model(small_config(modalities=modalities)).eval()
    everyone = torch.ones(4, dtype=torch.bool)
    genes = draw(4, N_GENES, dtype=torch.float32)

    cls_img = model.encode_slides(**make_batch()).cls_img if modalities == "slides" else None
    cls_ge = model.encode_genes(genes) if modalities == "genes" else None
    logits = model.classify(cls_img, cls_ge, everyone, everyone)

    assert logits.shape == (4, 3)
    assert len(torch.unique(logits, dim=0)) == 4
    assert model.dim == 20


def test_a_missing_half_is_replaced_whatever_its_cls_says():
    model = make_model(small_config()).eval()
    cls_ge = draw(4, 20, dtype=torch.float32)
    nobody = torch.zeros(4, dtype=torch.bool)

    without = model.classify(None, cls_ge, nobody, ~nobody)
    ignored = model.classify(torch.ones(4, 20), cls_ge, nobody, ~nobody)

    assert torch.equal(without, ignored)


def test_a_linear_head_starts_as_the_gene_classifier():
    model = make_model(small_config()).eval()
    cls_ge, everyone = draw(4, 20, dtype=torch.float32), torch.ones(4, dtype=torch.bool)

    model.start_head_from_gene_classifier()

    logits = model.classify(torch.zeros(4, 20), cls_ge, everyone, everyone)
    torch.testing.assert_close(logits, model.gene_classifier(cls_ge))


def narrow_model():
    """A model whose fusion gives fewer values than a half has."""
    model = make_model(small_config())
    model.fusion = torch.nn.Bilinear(20, 20, 7)
    model.head = linear(small_config(), in_dim=7, n_classes=3)
    return model


@pytest.mark.parametrize(
    "make", [lambda: make_model(small_config(head="mlp")), narrow_model], ids=["mlp", "fusion"]
)
def test_a_head_without_a_gene_part_stays_as_it_is(make):
    model = make()
    before = {name: value.clone() for name, value in model.head.state_dict().items()}

    model.start_head_from_gene_classifier()

    assert all(torch.equal(before[name], value) for name, value in model.head.state_dict().items())


def test_the_parts_of_the_state_dict_have_their_names():
    parts = {name.split(".")[0] for name in make_model(small_config()).state_dict()}

    assert parts == {
        "gene_encoder", "patches", "aggregator", "decoder", "fusion", "head", "gene_classifier",
    }  # fmt: skip


@pytest.mark.slow
def test_a_full_step_keeps_300_mib_of_activations_a_bag():
    config = small_config(dim=512, n_heads=8, n_landmarks=128, convolution_taps=33)
    model = make_model(config, n_genes=60480, feature_dim=1024)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    valid = torch.ones(1, 6000, dtype=torch.bool)
    features = draw(1, 6000, 1024, dtype=torch.float32).half()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        encoded = model.encode_slides(features, valid, masked=make_mask(valid))
        cls_ge = model.encode_genes(draw(1, 60480, dtype=torch.float32))
        embedding = patient_embedding(encoded.cls_img, cls_ge, normalise=True)
        loss = masked_l1(encoded.reconstructed, encoded.target) + embedding.sum()

    assert loss.isfinite()
    assert 100 < sum(kept.values()) / 2**20 < 300


@pytest.mark.parametrize("aggregator", ["nystrom", "nystrom-reference", "abmil"])
def test_a_step_in_bfloat16_is_close_to_one_in_float32(aggregator):
    model, batch = make_model(small_config(aggregator=aggregator)).eval(), make_batch()
    masked = make_mask(batch["valid"])
    expected = model.encode_slides(**batch, masked=masked)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model.encode_slides(**batch, masked=masked)
    masked_l1(encoded.reconstructed, encoded.target).backward()

    error = (encoded.cls_img - expected.cls_img).abs().mean()
    assert 0 < error < 0.03 * expected.cls_img.abs().mean()
    assert model.patches.projection.weight.grad.isfinite().all()
