"""What the stages do with their settings: loss, dropped halves, clipping, choice of the epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from gimp_plugin.assembly.build import build_model
from gimp_plugin.assembly.device import accelerator_of
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.models.losses import triplet_loss
from gimp_plugin.storage.bags import read_info
from gimp_plugin.training import gimp
from gimp_plugin.training.doubts import doubts_of_pretraining
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.genes import GeneStage
from gimp_plugin.training.loop import _Fit
from gimp_plugin.training.material import Material
from gimp_plugin.training.pretraining import PretrainStage
from gimp_plugin.training.stage import LOSS
from gimp_plugin.training.tools import Tools
from tests.study_factory import FEATURE_DIM, make_bag, tiny_config

CPU, N_GENES = torch.device("cpu"), 17
SIZES = (1, 2, 3, 5, 8, 13, 14, 30)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Eight training cases of two classes, with bags of all lengths, which also validate."""
    folder, rng = tmp_path_factory.mktemp("bags"), np.random.default_rng(0)
    cases = []
    for row, size in enumerate(SIZES):
        path = folder / f"P{row}.h5"
        make_bag(path, size, 0.5, rng=rng)
        cases.append(Case(case_id=f"P{row}", label=row % 2, bags=(read_info(path),), gene_row=row))
    return Material(
        train=tuple(cases),
        val=tuple(cases),
        genes=torch.from_numpy(rng.normal(size=(len(SIZES), N_GENES)).astype(np.float32)),
        classes=("a", "b"),
        feature_dim=FEATURE_DIM,
    )


def made(kind, config, material):
    """A stage and its model, in evaluation mode."""
    sizes = {"n_genes": N_GENES, "feature_dim": FEATURE_DIM, "n_classes": 2}
    model = build_model(config.model, **sizes, seed=0, decoder=True)
    return kind(model, config, material=material, seed=0, device=CPU).eval()


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_of_pre_training_is_the_weighted_sum_of_its_terms(material, normalise):
    config = tiny_config(
        pretrain__reconstruction_weight=0.3,
        pretrain__patient_triplet_weight=0.7,
        pretrain__image_triplet_weight=2.0,
        pretrain__margin=0.4,
        pretrain__normalise_halves=normalise,
    )
    stage = made(PretrainStage, config, material)
    inputs = next(stage.batches(0)).inputs

    terms = stage(**inputs)

    encoded = stage.model.encode_at(inputs["features"], inputs["places"])
    image, genes = encoded.cls_img, inputs["cls_ge"]
    if normalise:
        image, genes = (half / half.norm(dim=1, keepdim=True) for half in (image, genes))
    patient = torch.cat([image, genes], dim=1)
    tri_image, tri_patient = (
        triplet_loss(one, inputs["labels"], margin=0.4) for one in (image, patient)
    )
    error = (encoded.reconstructed - encoded.target).abs().mean()
    expected = 0.3 * error + 0.7 * tri_patient.loss + 2.0 * tri_image.loss
    torch.testing.assert_close(terms[LOSS], expected)
    for name, triplet in (("image", tri_image), ("patient", tri_patient)):
        found = [terms[f"{key}_{name}"] for key in ("triplet", "active", "positive", "negative")]
        torch.testing.assert_close(torch.stack(found), torch.stack(triplet))


def test_a_term_of_weight_0_is_left_out(material):
    config = tiny_config(pretrain__patient_triplet_weight=0.0)
    stage = made(PretrainStage, config, material)

    terms = stage(**next(stage.batches(0)).inputs)

    assert "triplet_image" in terms
    assert "triplet_patient" not in terms


def test_cases_without_genes_are_in_no_triplet_of_patients(material):
    bare = {"P1", "P4"}
    cases = [replace(one, gene_row=-1) if one.case_id in bare else one for one in material.train]
    stage = made(PretrainStage, tiny_config(), replace(material, train=tuple(cases)))
    step = next(stage.batches(0))

    terms = stage(**step.inputs)

    image = stage.model.encode_at(step.inputs["features"], step.inputs["places"]).cls_img
    paired = torch.tensor([case_id not in bare for case_id in step.case_ids])
    halves = [functional.normalize(one[paired]) for one in (image, step.inputs["cls_ge"])]
    expected = triplet_loss(
        torch.cat(halves, dim=1), step.inputs["labels"][paired], margin=stage.settings.margin
    )
    torch.testing.assert_close(terms["triplet_patient"], expected.loss)
    every = triplet_loss(
        functional.normalize(image), step.inputs["labels"], margin=stage.settings.margin
    )
    torch.testing.assert_close(terms["triplet_image"], every.loss)


def test_in_a_tiled_window_each_hidden_patch_is_reconstructed_once_and_summed(material):
    stage = made(PretrainStage, tiny_config("paper"), material)
    step = next(stage.batches(0))
    features, places = step.inputs["features"], step.inputs["places"]

    terms = stage(**step.inputs)

    n_own = [min(13, SIZES[int(case_id[1:])]) for case_id in step.case_ids]
    seen = torch.zeros(8, 13).index_put(places.visible, torch.tensor(1.0)).bool()
    for row, size in enumerate(n_own):
        wanted = places.wanted[1][places.wanted[0] == row].tolist()
        hidden = (~seen[row]).nonzero().flatten().tolist()
        assert len(wanted) == round(size / 2)
        assert set(wanted) == {patch % size for patch in hidden}
    encoded = stage.model.encode_at(features, places)
    expected = (encoded.reconstructed - features[places.wanted].float()).abs().sum()
    torch.testing.assert_close(terms["reconstruction"], expected)


@torch.no_grad()
def test_the_error_of_the_median_is_that_of_the_visible_patches_of_the_bag(material):
    stage = made(PretrainStage, tiny_config(), material)

    metrics = stage.validate()

    total = n_values = 0.0
    for step in stage._steps("val", [range(len(SIZES))], 2**31, stage.ranks):
        places = step.inputs["places"]
        features = functional.layer_norm(step.inputs["features"].float(), (FEATURE_DIM,))
        for row in range(len(SIZES)):
            seen = features[row, places.visible[1][places.visible[0] == row]]
            hidden = features[row, places.wanted[1][places.wanted[0] == row]]
            if len(hidden):
                middle = seen.sort(dim=0).values[(len(seen) - 1) // 2]
                total += float((hidden - middle).abs().sum())
                n_values += hidden.numel()
    assert metrics["val_median"] == pytest.approx(total / n_values, rel=1e-5)
    assert stage.validate() == metrics


@pytest.mark.parametrize("kind", [PretrainStage, FinetuneStage])
def test_cls_ge_is_computed_once_without_dropout(material, kind):
    stage = made(kind, tiny_config(model__attention_dropout=0.5), material)

    live = stage.model.encode_genes(material.genes)

    assert torch.equal(stage.cls_ge["train"], live)
    assert not torch.equal(stage.model.train().encode_genes(material.genes), live)


def test_the_gene_stage_drops_out_of_cls_ge_in_training_only(material):
    still = {"model__attention_dropout": 0.0, "model__embedding_dropout": 0.9}
    stage = made(GeneStage, tiny_config(**still), material)
    inputs = next(stage.batches(0)).inputs

    first, second = (stage(**inputs)[LOSS] for _ in range(2))
    dropped = stage.train()(**inputs)[LOSS]

    logits = stage.model.gene_classifier(stage.model.encode_genes(inputs["genes"]))
    assert first == second == functional.cross_entropy(logits, inputs["labels"])
    assert dropped != first


def kept(gene_dropout, image_dropout, material):
    """Which halves of each case 100 epochs of fine-tuning use."""
    changes = {"finetune__gene_dropout": gene_dropout, "finetune__image_dropout": image_dropout}
    stage = made(FinetuneStage, tiny_config(**changes), material)
    halves = [stage._kept_halves(material.train, epoch) for epoch in range(100)]
    return [torch.cat([one[name] for one in halves]) for name in ("has_slides", "has_genes")]


def test_halves_are_dropped_as_often_as_asked_and_never_both(material):
    slides, genes = kept(0.5, 0.3, material)

    assert (slides | genes).all()
    assert abs(float((~genes).float().mean()) - 0.5) < 0.07  # 4 standard deviations of 800
    assert abs(float((~slides).float().mean()) - 0.5 * 0.3) < 0.05


def test_without_dropout_every_half_is_kept(material):
    assert all(half.all() for half in kept(0.0, 0.0, material))


def test_a_case_of_one_half_keeps_it(material):
    stage = made(FinetuneStage, tiny_config(finetune__gene_dropout=0.95), material)
    bare = [Case(case_id=f"X{number}", gene_row=0) for number in range(40)]

    assert stage._kept_halves(bare, 0)["has_genes"].all()


@pytest.mark.parametrize(
    ("choose_by", "expected"), [("balanced_accuracy", [2, 3, 0, 1]), ("accuracy", [3, 2, 1, 0])]
)
def test_epochs_of_fine_tuning_are_ranked_by_what_was_chosen(material, choose_by, expected):
    stage = made(FinetuneStage, tiny_config(finetune__choose_by=choose_by), material)
    names = ("val_accuracy", "val_balanced_accuracy", "val_loss")
    values = [(0.9, 0.6, 0.5), (0.8, 0.6, 0.2), (0.7, 0.5, 0.9), (0.6, 0.5, 0.1)]
    epochs = [dict(zip(names, one, strict=True)) for one in values]

    from_worst_to_best = sorted(range(4), key=lambda epoch: stage.score(epochs[epoch]))

    assert from_worst_to_best == expected


@pytest.mark.parametrize(("clip_norm", "clipped"), [(1e-3, True), (0.0, False)])
def test_gradients_are_clipped_to_the_norm_that_was_set(material, tmp_path, clip_norm, clipped):
    stage = made(PretrainStage, tiny_config(pretrain__clip_norm=clip_norm), material)
    tools = Tools(accelerator=accelerator_of(Runtime(device="cpu")), folder=tmp_path, seed=0)
    training = _Fit(stage, tools)

    training._step(next(stage.batches(0)), 0)

    moments = [one["exp_avg"] for one in training.optimiser.state.values()]  # .1 of the gradient
    norm = 10 * float(torch.cat([one.flatten() for one in moments]).norm())
    assert (norm == pytest.approx(1e-3, rel=1e-3)) is clipped
    assert norm > 1e-4


@pytest.mark.parametrize("from_genes", [True, False])
def test_the_head_starts_from_the_genes_if_it_is_told_to(
    material, tmp_path, from_genes, monkeypatch
):
    config = tiny_config(finetune__head_from_genes=from_genes)
    sizes = {"n_genes": N_GENES, "feature_dim": FEATURE_DIM, "n_classes": 2}
    model = build_model(config.model, **sizes, seed=0, decoder=False)
    monkeypatch.setattr(gimp, "fit", lambda stage, tools: {})
    tools = Tools(accelerator=accelerator_of(Runtime(device="cpu")), folder=tmp_path, seed=0)

    gimp.GimpTrainer(config, tools).finetune(model, material, frozen_genes=True)

    weight = model.head.linear.weight[:, 16:]
    assert torch.equal(weight, model.gene_classifier.weight) is from_genes


@pytest.mark.parametrize(
    ("last", "weight", "told"),
    [
        ({"val_reconstruction": 0.4, "val_median": 0.5, "active_image": 0.01}, 1.0, []),
        (
            {"val_reconstruction": 0.4, "val_median": 0.5, "active_image": 0.0},
            1.0,
            ["active_image is 0"],
        ),
        ({"val_reconstruction": 0.5, "val_median": 0.5}, 0.1, ["(L_rec 0.5, median 0.5)"]),
        ({"val_reconstruction": 0.6, "val_median": 0.5}, 0.0, []),
        ({"loss": 0.3}, 1.0, []),
    ],
)
def test_a_term_of_which_nothing_was_learnt_is_told(last, weight, told):
    doubts = list(doubts_of_pretraining(last, weight=weight))

    assert len(doubts) == len(told)
    assert all(part in doubt for part, doubt in zip(told, doubts, strict=True))
