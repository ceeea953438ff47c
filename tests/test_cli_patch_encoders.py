"""Patch encoders of families on the command line, and bags of two encoders in one run."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.errors import SafetyError
from gimp_plugin.prediction import new_slides
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.training import finetune
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.study_factory import make_bag, make_study, tiny_config

OWN = """
import torch
class Colour(torch.nn.Module):
    dim = 3
    def forward(self, patches):
        return patches.float().mean(dim=(1, 2)) / 255
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    borrow(monkeypatch)
    yield
    sys.modules.pop("colour_encoder", None)


def gimp(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def hashes(folder="."):
    """Every file below a folder, caches of Python apart, with the hash of its bytes."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def pixels_of(bag, slide):
    with openslide.OpenSlide(slide) as opened:
        corners = read_coords(bag).tolist()
        regions = [opened.read_region(corner, 0, (256, 256)) for corner in corners]
    return [region.convert("RGB") for region in regions]


def test_timm_features_of_a_slide_are_those_of_timm_on_its_pixels():
    timm = pytest.importorskip("timm", reason="timm is an extra")
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model("resnet10t", num_classes=0).eval()
    torch.save(network.state_dict(), "w.pth")
    make_slide(Path("a.svs"))

    result = gimp(
        "extract-features", "a.svs", "--patch-encoder", "timm:resnet10t", "--weights", "w.pth"
    )

    (bag,) = list_bags(Path("features"))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    images = torch.stack([transform(image) for image in pixels_of(bag, "a.svs")])
    with torch.no_grad():
        expected = network(images).numpy()
    digest = hashlib.sha256(Path("w.pth").read_bytes()).hexdigest()
    assert result.exit_code == 0
    assert bag.encoder == f"timm:resnet10t@{digest[:12]}"
    # PIL rounds between its two passes and a bag to float16: a hundredth of the spread
    difference = np.abs(read_features(bag) - expected).mean()
    assert difference < 0.01 * expected.std(axis=0).mean()


def test_an_encoder_of_the_user_is_used_and_an_edit_of_it_makes_other_bags():
    Path("colour_encoder.py").write_text(OWN)
    make_slide(Path("a.svs"))
    command = ("extract-features", "a.svs", "--patch-encoder", "colour_encoder:Colour")

    first = gimp(*command)
    (bag,) = list_bags(Path("features"))
    second = gimp(*command)
    Path("colour_encoder.py").write_text(OWN + "# another version\n")
    before = hashes()
    third = gimp(*command)

    expected = [np.asarray(image).mean(axis=(0, 1)) / 255 for image in pixels_of(bag, "a.svs")]
    np.testing.assert_allclose(read_features(bag), expected, atol=2e-3)  # float16
    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 0, 3)
    assert "nothing to do" in second.stdout
    assert "weights_sha256 is" in third.stderr
    assert hashes() == before
    assert "colour_encoder (sha256 " in bag.attributes["preprocessing"]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("colour_encoder:Color", 2, "no 'Color'"),
        ("timm:resnet18.tv_in1k", 5, "no model.safetensors or pytorch_model.bin"),
        ("torchvision:resnet18", 5, "resnet18-f37072fd.pth"),
        ("torchvision:resnet1", 2, "did you mean 'resnet18'"),
        ("nosuchfamily:x", 2, "unknown patch encoder 'nosuchfamily'"),
    ],
)
def test_encoders_that_cannot_be_had_end_before_any_slide_is_read(name, code, message, monkeypatch):
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is an extra")
    monkeypatch.setenv("TORCH_HOME", "torch")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "hub")
    Path("colour_encoder.py").write_text(OWN)
    make_slide(Path("a.svs"))
    before = hashes()

    result = gimp("extract-features", "a.svs", "--patch-encoder", name, "--offline")

    assert result.exit_code == code
    assert message in result.stderr
    assert hashes() == before


def test_weights_that_carry_code_are_code_7_for_families_too():
    pytest.importorskip("timm", reason="timm is an extra")
    make_slide(Path("a.svs"))
    Path("colour_encoder.py").write_text(OWN)
    torch.save(torch.nn.Linear(2, 2), "w.pth")

    for name in ("timm:resnet10t", "torchvision:resnet18", "colour_encoder:Colour"):
        result = gimp("extract-features", "a.svs", "--patch-encoder", name, "--weights", "w.pth")

        assert result.exit_code == 7
        assert "carries code; it was not run" in result.stderr
    assert not Path("features").exists()


def test_families_are_listed_among_the_plugins():
    told = json.loads(gimp("plugins", "--json").stdout)

    summaries = {
        row["name"]: row["summary"] for row in told["components"] if row["kind"] == "patch-encoder"
    }
    assert {"timm", "torchvision", "tiatoolbox", "import"} <= set(summaries)
    assert summaries["timm"].startswith("timm:NAME, ")


def test_a_run_does_not_decide_which_code_is_imported():
    stored = {"patch_encoder": "colour_encoder:Colour", "mpp": 1.0, "stride": 256}
    empty = dict.fromkeys(RunRecord.__dataclass_fields__) | {"path": Path("runs/a")}
    record = RunRecord(**{**empty, "extraction": stored})

    with pytest.raises(SafetyError, match="names code as its patch encoder") as caught:
        new_slides.extraction_config(record)

    wanted = "gimp extract-features SLIDES --patch-encoder colour_encoder:Colour --mpp 1.0"
    assert wanted in caught.value.hint
    assert caught.value.exit_code == 7
    other = RunRecord(**{**empty, "extraction": {"patch_encoder": "timm:x"}})
    assert new_slides.extraction_config(other).patch_encoder == "timm:x"


A, B = "timm:resnet18.a1_in1k", "timm:resnet18.tv_in1k"
MAKERS = {
    "of two networks of one family": (
        {"encoder": A, "encoder_weights_sha256": "a" * 64},
        {"encoder": B, "encoder_weights_sha256": "b" * 64},
        (f"'{A}@aaaaaaaaaaaa'", f"'{B}@bbbbbbbbbbbb'"),
    ),
    "of two weights of one network": (
        {"encoder": A, "encoder_weights_sha256": "a" * 64},
        {"encoder": A, "encoder_weights_sha256": "b" * 64},
        (f"'{A}@aaaaaaaaaaaa'", f"'{A}@bbbbbbbbbbbb'"),
    ),
    "ours and foreign": (
        {"encoder": A, "encoder_weights_sha256": "a" * 64},
        {},
        (f"'{A}@aaaaaaaaaaaa'", "an unnamed encoder"),
    ),
}


def bags(folder, attributes, only=None):
    """Write all bags of a study anew as another encoder's, or one of them."""
    rng = np.random.default_rng(0)
    for path in sorted(Path(folder).glob("*.h5")):
        if only in {None, path.stem}:
            make_bag(path, 9, 0.5, rng=rng, **attributes)


@pytest.mark.parametrize("case", MAKERS)
def test_bags_of_two_encoders_are_refused_by_every_stage_with_both_named(case, tmp_path):
    one, other, names = MAKERS[case]
    study = make_study(tmp_path, n_cases=12)
    bags(study.features, one)
    finetune(
        study, tiny_config(finetune__epochs=1, genes__epochs=1), start="none",
        output=Path("runs/finetune"), runtime=Runtime(),
    )  # fmt: skip
    bags(study.features, other, only="P07")
    mixed = hashes()
    adata = ("--adata", "genes.h5ad")

    for command in (("pretrain",), ("finetune", "--from", "none", "-o", "new"), ("predict",)):
        result = gimp(*command, *adata)

        assert result.exit_code == 3, result.output
        assert "bags of different encoders are mixed" in result.stderr
        for name in names:
            assert name in result.stderr
        assert hashes() == mixed

    bags(study.features, other)
    for command in (("predict",), ("finetune", "--from", "runs/finetune", "-o", "new")):
        result = gimp(*command, *adata)

        assert result.exit_code == 3, result.output
        assert names[0] in result.stderr
        assert names[1] in result.stderr
    bags(study.features, one)
    assert gimp("predict", *adata).exit_code == 0  # the control


def test_bags_of_the_editions_of_an_own_encoder_are_of_different_encoders():
    make_slide(Path("a.svs"))
    makers = []
    for edition in ("", "# edited\n"):
        Path("colour_encoder.py").write_text(OWN + edition)
        gimp(
            "extract-features", "a.svs", "--patch-encoder", "colour_encoder:Colour",
            "-o", f"features{len(makers)}",
        )  # fmt: skip
        (bag,) = list_bags(Path(f"features{len(makers)}"))
        makers.append(bag.encoder)

    assert len(set(makers)) == 2
    assert all(maker.startswith("colour_encoder:Colour@") for maker in makers)
