"""Every system learns what a cohort shows, nothing from shuffled labels, and takes any bag."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from gimp_plugin.models.system import loss_of
from gimp_plugin.plugins import registry
from tests.model_factory import FEATURE_DIM, draw
from tests.system_factory import N_GENES, READS, make_system

N_TRAIN, N_TEST, N_EPOCHS, BATCH = 32, 48, 6, 4


def test_all_systems_are_tried():
    assert sorted(READS) == registry().names("system")


def make_cases(name):
    """Halves of cases in two classes in turn, as a system reads them; both halves tell the class.

    Of the patches of the second class most are of one kind, of the first few; a third of the genes
    is higher in the second.
    """
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(N_TRAIN + N_TEST) % 2
    cases = []
    for label in labels.tolist():
        n_patches = int(torch.randint(5, 13, (), generator=generator))
        kind = torch.rand(n_patches, generator=generator) < (0.15, 0.85)[label]
        noise = torch.randn(n_patches, FEATURE_DIM, generator=generator)
        features = noise + kind[:, None] * torch.linspace(-2, 2, FEATURE_DIM)
        genes = torch.randn(N_GENES, generator=generator)
        genes[: N_GENES // 3] += (-1.0, 1.0)[label]
        reads = READS[name]
        cases.append((features if "slides" in reads else None, genes if "genes" in reads else None))
    return cases, labels


def trained_auc(name, cases, labels):
    """AUC of the cases behind the first ones, on which the system is trained."""
    system = make_system(name, dim=40).float().train()
    optimiser = torch.optim.AdamW(system.parameters(), lr=3e-3)
    for _ in range(N_EPOCHS):
        for batch in torch.arange(N_TRAIN).split(BATCH):
            losses = [loss_of(system, *cases[case], labels[case]) for case in batch.tolist()]
            optimiser.zero_grad()
            torch.stack(losses).mean().backward()
            optimiser.step()
    with torch.no_grad():
        logits = torch.stack([system.eval()(*case) for case in cases[N_TRAIN:]])
    return roc_auc_score(labels[N_TRAIN:], logits[:, 1] - logits[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", READS)
def test_it_learns_a_cohort_and_not_its_shuffled_labels(name):
    cases, labels = make_cases(name)
    shuffled = torch.arange(len(labels)) // 2 % 2  # of each true class half and half

    assert trained_auc(name, cases, labels) > 0.8
    assert abs(trained_auc(name, cases, shuffled) - 0.5) < 0.2  # two standard errors are .17


@pytest.mark.parametrize("name", [name for name, reads in READS.items() if "slides" in reads])
def test_a_bag_of_twenty_thousand_patches_is_read_to_its_end(name):
    system, features = make_system(name, dim=40), draw(20_000, FEATURE_DIM)
    genes = draw(N_GENES, seed=1) if "genes" in READS[name] else None
    changed = torch.cat([features[:-1], features[-1:] + 1e4])

    with torch.no_grad():
        logits, other = system(features, genes), system(changed, genes)
        single = system.float()(features.float(), None if genes is None else genes.float())

    torch.testing.assert_close(single.double(), logits, rtol=0, atol=1e-4)
    assert (other - logits).abs().max() > 1e-6
