"""The conformance kit: our components pass, and what is wrong in one way fails for that reason."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from gimp_plugin import testing
from gimp_plugin.errors import BagError, ConfigError
from gimp_plugin.models.fusion import Concat
from gimp_plugin.models.heads import LinearHead
from gimp_plugin.plugins import KINDS, protocols, registry
from gimp_plugin.slides.encoders import Encoder, untrained
from gimp_plugin.slides.networks import Untrained
from gimp_plugin.storage.bags.info import BagInfo
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.bags.layouts import LAYOUTS
from gimp_plugin.training.gimp import GimpTrainer
from tests.foreign_bags import MPP, WRITERS, draw


def ours(kind):
    return registry().names(kind)


def test_every_kind_has_a_check_and_a_protocol():
    assert tuple(testing.CHECKS) == KINDS
    assert set(testing.__all__) == {"CHECKS", *(one.__name__ for one in testing.CHECKS.values())}
    for kind in KINDS:
        name = kind.title().replace("-", "")
        assert {name, f"{name}Maker"} & vars(protocols).keys()


@pytest.mark.parametrize("kind", ["gene-encoder", "aggregator", "fusion", "head", "system"])
def test_our_modules_pass(kind):
    for name in ours(kind):
        testing.CHECKS[kind](registry().load(kind, name))


def test_our_trainers_pass():
    for name in ours("trainer"):
        testing.check_trainer(registry().load("trainer", name))


def test_our_groupings_pass(tmp_path):
    (tmp_path / "sets.gmt").write_text("A\tx\tGENE3\tGENE1\nB\tx\tGENE2\tGENE3\n")
    for name in ours("gene-grouping"):
        argument = str(tmp_path / "sets.gmt") if name == "gmt" else ""
        testing.check_gene_grouping(registry().load("gene-grouping", name), argument=argument)


def test_our_patch_encoders_pass():
    testing.check_patch_encoder(untrained)


@pytest.mark.parametrize("name", WRITERS)
def test_our_readers_pass(tmp_path, name):
    features, coords = draw(13, 5)
    path = WRITERS[name](tmp_path, "slide", features, coords)
    # in the file's own unit and order
    units = {"stamp-h5": coords * MPP, "tiatoolbox-zarr": coords / 2, "clam-pt": None}
    places = units.get(name, coords)
    (reader,) = (layout for layout in LAYOUTS if layout.name == name)

    testing.check_feature_reader(reader, path, features=features, coords=places)


class Genes(nn.Module):
    """A gene encoder that keeps the contract; changes make it break it."""

    def __init__(self, config, n_genes):
        super().__init__()
        self.dim = config.dim
        self.linear = nn.Linear(n_genes, config.dim)

    def forward(self, genes):
        return self.linear(genes)


class Centred(Genes):
    def forward(self, genes):
        return self.linear(genes - genes.mean(dim=0))


class Cut(Genes):
    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, genes):
        return self.linear(genes) * self.scale.detach()


class Hidden(Genes):
    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        self.scale = torch.rand(1)

    def forward(self, genes):
        return self.linear(genes) * self.scale


class Tied(Genes):
    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        self.again = nn.Linear(n_genes, config.dim)
        self.again.weight = self.linear.weight

    def forward(self, genes):
        return self.linear(genes) + self.again(genes)


class Restless(Genes):
    numbers = np.random.default_rng()

    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        nn.init.constant_(self.linear.bias, float(self.numbers.normal()))


class Noisy(Genes):
    numbers = np.random.default_rng()

    def forward(self, genes):
        noise = float(self.numbers.normal()) if self.training else 0.0
        return self.linear(genes) + noise


class Dropping(Genes):
    def forward(self, genes):
        return nn.functional.dropout(self.linear(genes), 0.5, training=True)


class Greedy(Genes):
    def forward(self, genes):
        return self.linear(genes.mul_(2))


class Normed(Genes):
    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        self.norm = nn.BatchNorm1d(config.dim)

    def forward(self, genes):
        return self.norm(self.linear(genes))


class Strict(Genes):
    def forward(self, genes):
        out = torch.zeros(len(genes), self.dim)
        return out.index_put((torch.arange(len(genes)),), self.linear(genes))


class Wide(Genes):
    def forward(self, genes):
        return torch.cat([self.linear(genes)] * 2, dim=1)


class Endless(Genes):
    def forward(self, genes):
        return self.linear(genes) / 0


class Misjudged(Genes):
    def __init__(self, config, n_genes):
        super().__init__(config, n_genes)
        self.dim = 3


def makes(kind):
    return lambda config, *, n_genes: kind(config, n_genes)


def test_a_plain_gene_encoder_passes():
    testing.check_gene_encoder(makes(Genes))


@pytest.mark.filterwarnings("ignore:Can't initialize NaN")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Centred, "CLS_ge of 37 genes depends on the other cases of the batch"),
        (Cut, "no gradient reaches the parameter 'scale'"),
        (Hidden, "its outputs depend on more than its state dict"),
        (Tied, "its state dict cannot be stored"),
        (Restless, "one seed gave two values of the weights 'linear.bias'"),
        (Noisy, "in training mode, one seed of torch gave two outputs"),
        (Dropping, "depends on the other cases"),
        (Greedy, "it changed its input"),
        (Normed, "a batch of one case cannot be trained on"),
        (Strict, "it cannot be run under autocast to bfloat16: "),
        (Wide, r"CLS_ge of 37 genes has shape \(3, 40\), expected \(3, 20\)"),
        (Endless, "CLS_ge of 37 genes is not finite"),
        (Misjudged, "its dim is 3, the configuration says 20"),
        (lambda config, n_genes: object(), "it is of type object, expected a torch.nn.Module"),
    ],
)
def test_a_wrong_gene_encoder_fails_for_its_fault(kind, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_gene_encoder(makes(kind))


class Mean(nn.Module):
    """An aggregator that keeps the contract."""

    def __init__(self, config):
        super().__init__()
        self.dim = config.dim
        self.norm = nn.LayerNorm(config.dim)

    def mean(self, tokens, valid):
        real = valid[..., None]
        return torch.where(real, tokens, 0).sum(dim=1) / real.sum(dim=1).clamp(min=1)

    def forward(self, tokens, valid, *, slide=None, rows=None):
        wanted = torch.zeros_like(valid) if rows is None else rows
        return self.norm(self.mean(tokens, valid)), self.norm(tokens)[wanted]


class ReadsPadding(Mean):
    def mean(self, tokens, valid):
        return tokens.mean(dim=1)


class CountsPadding(Mean):
    def mean(self, tokens, valid):
        n_padding = (~valid).sum(dim=1, keepdim=True)
        return super().mean(tokens, valid) + n_padding * torch.arange(self.dim)


class Divides(Mean):
    def mean(self, tokens, valid):
        real = valid[..., None]
        return torch.where(real, tokens, 0).sum(dim=1) / real.sum(dim=1)


class Mates(Mean):
    def mean(self, tokens, valid):
        mean = super().mean(tokens, valid)
        return mean - mean.mean(dim=0)


class Reseeds(Mean):
    def mean(self, tokens, valid):
        torch.random.default_generator.manual_seed(0)
        return super().mean(tokens, valid)


class Unordered(Mean):
    def forward(self, tokens, valid, *, slide=None, rows=None):
        cls_img, wanted = super().forward(tokens, valid, slide=slide, rows=rows)
        return cls_img, wanted.flip(0)


class All(Mean):
    def forward(self, tokens, valid, *, slide=None, rows=None):
        cls_img, _ = super().forward(tokens, valid, slide=slide, rows=rows)
        return cls_img, self.norm(tokens)[valid]


class Streams(Mean):
    def forward(self, tokens, valid, *, slide=None, rows=None):
        return super().forward(tokens, valid, slide=slide, rows=rows)

    def stream(self, tokens, sizes):
        return self.norm(torch.cat(list(tokens))[: sizes[0]].mean(dim=0, keepdim=True))


class Plans(Mean):
    def forward(self, tokens, valid, *, slide=None, rows=None, plan=None):
        cls_img, wanted = super().forward(tokens, valid, slide=slide, rows=rows)
        return cls_img * (1 if plan is None else 2), wanted

    def plan(self, valid, *, slide=None, rows=None, masked=None):
        return valid


def test_a_plain_aggregator_passes():
    testing.check_aggregator(Mean)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ReadsPadding, "it reads the padding"),
        (CountsPadding, "a case depends on its padding or on the other cases of the batch"),
        (Divides, r"CLS_img \(the last case has no patch\) is not finite"),
        (Mates, "a case depends on its padding or on the other cases of the batch"),
        (Reseeds, "it sets torch's seed, which all other parts depend on"),
        (Unordered, "a case depends on its padding or on the other cases of the batch"),
        (All, "the wanted patches has shape"),
        (Streams, "stream and forward give a different CLS_img"),
        (Plans, "CLS_img depends on what plan returns"),
        (lambda config: Genes(config, config.dim), None),
    ],
)
def test_a_wrong_aggregator_fails_for_its_fault(kind, message):
    with pytest.raises((AssertionError, TypeError), match=message):
        testing.check_aggregator(kind)


class Both(nn.Module):
    """A system that keeps the contract; it is there for models of both halves only."""

    def __init__(self, config, *, feature_dim, n_genes, n_classes):
        if config.modalities != "slides+genes":
            raise ConfigError("it needs both halves")
        super().__init__()
        self.patches = nn.Linear(feature_dim, n_classes)
        self.genes = nn.Linear(n_genes, n_classes)

    def forward(self, features, genes):
        return self.patches(features.mean(dim=0)) + self.genes(genes)


class Varies(Both):
    def forward(self, features, genes):
        return super().forward(features / features.std(dim=0), genes)


class Boundless(Both):
    def loss(self, features, genes, label):
        return nn.functional.cross_entropy(self(features, genes), label) / 0


class HalfTaught(Both):
    def loss(self, features, genes, label):
        return nn.functional.cross_entropy(self.genes(genes), label)


class Batched(Both):
    def forward(self, features, genes):
        return super().forward(features, genes)[None]

    def loss(self, features, genes, label):
        return nn.functional.cross_entropy(self(features, genes)[0], label)


class NeverMade(Both):
    def __init__(self, config, **sizes):
        raise ConfigError("no")


def test_a_plain_system_passes():
    testing.check_system(Both)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Varies, "logits of a bag of 1 is not finite"),
        (Boundless, "loss of a bag of 13 of class 0 is not finite"),
        (HalfTaught, "no gradient reaches the parameter 'patches.weight'"),
        (Batched, r"logits of a bag of 13 has shape \(1, 2\), expected \(2,\)"),
        (NeverMade, "it cannot be made for any of slides"),
    ],
)
@pytest.mark.filterwarnings("ignore:std")
def test_a_wrong_system_fails_for_its_fault(kind, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_system(kind)


class ReadsMissing(Concat):
    def forward(self, cls_img, cls_ge, has_slides, has_genes):
        every = torch.ones_like(has_slides)
        return super().forward(cls_img, cls_ge, every, every)


class Unmeasured(Concat):
    def __init__(self, dim, **halves):
        super().__init__(dim, **halves)
        self.out_dim = "all"


class MatesFused(Concat):
    def forward(self, cls_img, cls_ge, has_slides, has_genes):
        fused = super().forward(cls_img, cls_ge, has_slides, has_genes)
        return fused - fused.mean(dim=0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ReadsMissing, "it reads the placeholder of a half that a case lacks"),
        (Unmeasured, "its out_dim is 'all', expected a whole number"),
        (MatesFused, "depends on the other cases of the batch"),
    ],
)
def test_a_wrong_fusion_fails_for_its_fault(kind, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_fusion(own(kind))


def own(kind):
    return lambda config: kind(config.dim, has_slides=config.has_slides, has_genes=config.has_genes)


def test_a_wrong_head_fails_for_its_fault():
    def binary(config, *, in_dim, n_classes):
        return LinearHead(in_dim, 2, dropout=0.0)

    with pytest.raises(AssertionError, match=r"logits of 5 classes has shape \(3, 2\)"):
        testing.check_head(binary)


def test_a_head_that_gives_probabilities_fails_for_it():
    def softmax(config, *, in_dim, n_classes):
        return nn.Sequential(nn.Linear(in_dim, n_classes), nn.Softmax(dim=-1))

    with pytest.raises(AssertionError, match="logits of 2 classes are probabilities, expected"):
        testing.check_head(softmax)


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 32)

    def forward(self, patches):
        return self.linear(patches.float().mean(dim=(1, 2)))


class Constant(nn.Module):
    def forward(self, patches):
        return torch.ones(len(patches), 32)


class Whitened(Untrained):
    def forward(self, patches):
        features = super().forward(patches)
        return features - features.mean(dim=0)


def encoder(**changes):
    values = {"name": "x", "dim": 32, "input_size": 16, "weights_sha256": "0", "licence": "MIT"}
    values |= {"preprocessing": "none", "build": partial(Untrained, 32)}
    return lambda *, weights, offline: Encoder(**values | changes)


def test_a_plain_patch_encoder_passes():
    testing.check_patch_encoder(encoder())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": ""}, "licence is '', expected non-empty text"),
        ({"mpp": 0.0}, "mpp is 0.0, expected a positive number"),
        ({"dim": 31}, r"its output for patches has shape \(3, 32\), expected \(3, 31\)"),
        (
            {"build": Random},
            "two networks with the same name and hash differ: are the weights random",
        ),
        ({"build": Constant}, "two patches have the same features"),
        ({"build": partial(Whitened, 32)}, "a patch's features depend on the other patches"),
        ({"build": object}, "it is of type object, expected a torch.nn.Module"),
    ],
)
def test_a_wrong_patch_encoder_fails_for_its_fault(changes, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_patch_encoder(encoder(**changes))


def in_file_order(gene_ids, **context):
    return np.arange(len(gene_ids))


def sorting(gene_ids, *, genes, **context):
    genes["start"] = 0
    return np.arange(len(gene_ids))


@pytest.mark.parametrize(
    ("grouping", "message"),
    [
        (lambda gene_ids, **_: np.arange(len(gene_ids)) + 1, "is not a permutation"),
        (lambda gene_ids, **_: np.arange(len(gene_ids) - 1), "must occur once"),
        (lambda gene_ids, **_: np.linspace(0, 30, 31), "is of float64, expected integers"),
        (
            lambda gene_ids, **_: np.random.default_rng().permutation(len(gene_ids)),
            "one seed gave two orders of 31 genes",
        ),
        (sorting, "it changed its input"),
    ],
)
def test_a_wrong_grouping_fails_for_its_fault(grouping, message):
    testing.check_gene_grouping(in_file_order)

    with pytest.raises(AssertionError, match=message):
        testing.check_gene_grouping(grouping)


@contextmanager
def opened(path):
    try:
        with path.open("rb") as raw:
            yield np.load(raw)
    except (OSError, ValueError, EOFError) as error:
        raise BagError(f"{str(path)!r} is no array") from error


def looked(path, file):
    return BagInfo(
        path=path, slide_id=path.stem, n_patches=len(file), dim=file.shape[1], has_coords=False
    )


NPY = Layout(
    name="npy",
    suffix=".npy",
    opened=opened,
    claims=lambda file: file.ndim == 2,
    look=looked,
    rows=lambda info, file, start, stop: file[start:stop],
    corners=lambda info, file: file[:, :2],
)


@contextmanager
def careless(path):
    with path.open("rb") as raw:
        yield np.load(raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": lambda file: False}, "it does not claim 'slide.npy'"),
        ({"rows": lambda info, file, start, stop: file[start:]}, "rows 1 to 3 are not the feat"),
        ({"suffix": ".np"}, "'slide.npy' lacks '.np'"),
        ({"look": lambda path, file: replace(looked(path, file), dim=2)}, "dim is 2, expected 5"),
        ({"look": lambda path, file: replace(looked(path, file), slide_id="x")}, "slide_id is 'x'"),
        (
            {"look": lambda path, file: replace(looked(path, file), has_coords=True)},
            "has_coords is True, the file says otherwise",
        ),
        ({"opened": careless}, "a file of noise raises"),
    ],
)
def test_a_wrong_reader_fails_for_its_fault(tmp_path, changes, message):
    features = np.random.default_rng(0).normal(size=(7, 5)).astype("f4")
    np.save(tmp_path / "slide.npy", features)
    check = partial(testing.check_feature_reader, example=tmp_path / "slide.npy", features=features)
    check(NPY)

    with pytest.raises(AssertionError, match=message):
        check(replace(NPY, **changes))


class Lazy(GimpTrainer):
    def pretrain(self, model, material):
        return {"pretrain": {"chosen_epoch": 1, "epochs": [{"loss": 0.0}]}}


class Thawing(GimpTrainer):
    def finetune(self, model, material, *, frozen_genes):
        return super().finetune(model, material, frozen_genes=False)


class Silent(GimpTrainer):
    def pretrain_genes(self, model, material):
        super().pretrain_genes(model, material)
        return {}


class Unseeded(GimpTrainer):
    def finetune(self, model, material, *, frozen_genes):
        found = super().finetune(model, material, frozen_genes=frozen_genes)
        nn.init.constant_(model.head.linear.bias, float(np.random.default_rng().normal()))
        return found


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Lazy, "pretrain changed no weight of the model it was given"),
        (Thawing, "finetune changed the frozen 'gene_encoder"),
        (Silent, "pretrain_genes gave {}, expected metrics"),
        (Unseeded, "one seed trained two values of 'head.linear.bias'"),
    ],
)
def test_a_wrong_trainer_fails_for_its_fault(kind, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_trainer(kind)
