"""`timm:`, `torchvision:`: their features against those libraries' own transforms and networks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import (
    CheckpointError,
    ConfigError,
    MissingFileError,
    ResourceError,
    SafetyError,
)
from gimp_plugin.slides.encoders import find_encoder, hub, timm_models, torchvision_models
from gimp_plugin.slides.encoders.preparing import fast
from gimp_plugin.slides.encoding import Encoding

timm = pytest.importorskip("timm", reason="timm is an extra")
CPU = Runtime(device="cpu", precision="fp32")


@pytest.fixture(autouse=True)
def no_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def smooth_patches(n=3, side=250):
    """Coloured clouds: as in tissue, neighbouring pixels are alike."""
    noise = np.random.default_rng(7).integers(0, 256, (n, 9, 9, 3), np.uint8)
    images = [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in noise]
    return np.stack([np.asarray(image) for image in images])


def found(name, weights=None, *, offline=True):
    config = ExtractionConfig(patch_encoder=name, weights=str(weights or ""))
    return find_encoder(config, offline=offline)


def seeded(network):
    """Weights of a size that keeps activations in range, batch norms as after training."""
    generator = torch.Generator().manual_seed(3)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = torch.rand(value.shape, generator=generator) / 2 + 0.5
        elif name.endswith("running_mean"):
            state[name] = torch.randn(value.shape, generator=generator) / 10
        elif value.ndim == 4:
            drawn = torch.randn(value.shape, generator=generator)
            state[name] = drawn * (2 / value[0].numel()) ** 0.5
    network.load_state_dict(state)
    return network.eval()


def timm_network(name, **options):
    with torch.random.fork_rng(devices=[]):
        return seeded(timm.create_model(name, **options))


def by_pil(network, transform, patches):
    images = torch.stack([transform(Image.fromarray(patch)) for patch in patches])
    with torch.no_grad():
        return network(images).numpy()


def assert_alike(features, expected):
    """PIL rounds between its two passes, torch once: a grey level of 255 apart at most."""
    spread = expected.std(axis=0).mean()
    assert spread > 0
    np.testing.assert_allclose(features, expected, atol=0.2 * spread, rtol=0)
    assert np.abs(features - expected).mean() < 0.02 * spread


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_timm_features_are_those_of_its_own_transform_and_network(tmp_path, name):
    network = timm_network(name, num_classes=0)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    data = timm.data.resolve_model_data_config(network)
    patches = smooth_patches()

    encoder = found(f"timm:{name}", tmp_path / "w.pth")
    features = Encoding(encoder, CPU)(patches)

    expected = by_pil(network, timm.data.create_transform(**data), patches)
    assert features.shape == (3, network.num_features) == (3, encoder.dim)
    assert encoder.input_size == data["input_size"][1]
    assert_alike(features, expected)
    squeezed = timm.data.create_transform(**{**data, "crop_pct": 0.5})  # the control
    with pytest.raises(AssertionError):
        assert_alike(features, by_pil(network, squeezed, patches))


def test_timm_weights_with_a_classifier_of_any_size_are_the_same(tmp_path):
    network = timm_network("resnet10t", num_classes=9)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    patches = smooth_patches(2, 176)

    encoder = found("timm:resnet10t", tmp_path / "w.safetensors")

    network.reset_classifier(0)
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    bare = found("timm:resnet10t", tmp_path / "bare.pth")
    np.testing.assert_array_equal(Encoding(encoder, CPU)(patches), Encoding(bare, CPU)(patches))
    content = (tmp_path / "w.safetensors").read_bytes()
    assert encoder.weights_sha256 == hashlib.sha256(content).hexdigest() != bare.weights_sha256
    assert (encoder.name, encoder.licence) == ("timm:resnet10t", "unknown (a file of the user)")
    assert "bilinear" in encoder.preprocessing or "bicubic" in encoder.preprocessing


def put_into_hub(tmp_path, repository, content, filename):
    """Lay a file into the hub's cache, as a download does."""
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "blobs").mkdir(exist_ok=True)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot / filename).symlink_to(blob)
    return blob


def test_timm_takes_its_own_weights_from_the_hubs_cache(tmp_path):
    network = timm_network("resnet10t")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    repository = timm.models.get_pretrained_cfg("resnet10t").hf_hub_id
    blob = put_into_hub(tmp_path, repository, content, "model.safetensors")
    patches = smooth_patches(2)

    encoder = found("timm:resnet10t")

    given = found("timm:resnet10t", tmp_path / "w.safetensors")
    np.testing.assert_array_equal(Encoding(encoder, CPU)(patches), Encoding(given, CPU)(patches))
    assert encoder.licence == "apache-2.0"
    assert encoder.weights_sha256 == given.weights_sha256
    blob.write_bytes(content + b"x")
    with pytest.raises(CheckpointError, match=f"its name says {blob.name}"):
        found("timm:resnet10t")


def test_a_network_described_on_the_hub_is_found_in_its_cache(tmp_path):
    network = timm_network("vit_tiny_patch16_224", num_classes=0, img_size=96, init_values=0.5)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    said = (
        b'{"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": {"img_size": 96,'
        b' "init_values": 0.5}, "pretrained_cfg": {"input_size": [3, 96, 96], "crop_pct": 1.0,'
        b' "mean": [0.7, 0.6, 0.7], "std": [0.2, 0.3, 0.2], "license": "mit", "odd": 1}}'
    )
    put_into_hub(tmp_path, "lab/tissue", said, "config.json")
    content = (tmp_path / "w.safetensors").read_bytes()
    put_into_hub(tmp_path, "lab/tissue", content, "model.safetensors")
    patches = smooth_patches(2, 96)

    encoder = found("timm:hf-hub:lab/tissue")

    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.7, 0.6, 0.7], [0.2, 0.3, 0.2]))
    with torch.no_grad():
        expected = network((pixels - mean) / std).numpy()
    assert (encoder.dim, encoder.input_size, encoder.licence) == (192, 96, "mit")
    np.testing.assert_allclose(Encoding(encoder, CPU)(patches), expected, atol=1e-4)


@pytest.mark.parametrize("offline", [True, False])
def test_weights_of_timm_out_of_reach_are_code_5_in_our_words(offline):
    for name, lacking in (("resnet18.tv_in1k", "model.safetensors"), ("hf-hub:a/b", "config.json")):
        with pytest.raises(ResourceError, match=f"no {lacking}") as caught:
            found(f"timm:{name}", offline=offline)

        assert caught.value.exit_code == 5
        assert "client has been closed" not in str(caught.value)
        assert ("--offline" if offline else "HF_HUB_OFFLINE") in caught.value.problem
        assert "--weights FILE" in caught.value.hint


def test_a_hub_that_is_not_reached_is_told_in_our_words(monkeypatch):
    def unreachable(*_, **__):
        raise RuntimeError("Cannot send a request, as the client has been closed.")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)

    with pytest.raises(ResourceError, match=r"'a/b'.*the hub cannot be reached") as caught:
        hub.hub_file("a/b", ("x.bin",), offline=False)

    assert "client has been closed" not in str(caught.value)


def test_without_timm_the_pip_command_is_given(monkeypatch):
    monkeypatch.setattr(timm_models.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ResourceError, match="needs timm") as caught:
        found("timm:resnet18")

    assert (caught.value.exit_code, caught.value.hint) == (5, "pip install timm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm", "'timm' is a family: it needs the name of a network"),
        ("timm:resnet1O", "no network 'resnet1O', did you mean 'resnet1"),
        ("timm:resnet18.tv_in1", "did you mean 'tv_in1k'"),
        ("tim:resnet18", "unknown patch encoder 'tim', did you mean 'timm'"),
        ("resnet50:layer4", "'resnet50' takes no argument"),
        ("torchvision:resnet81", "did you mean 'resnet18'"),
        ("torchvision:resnet18@V1", "no weights 'V1' of 'resnet18'"),
        ("torchvision:squeezenet1_1", "has no linear classifier"),
    ],
)
def test_wrong_names_are_code_2_and_offer_the_nearest(tmp_path, name, message):
    (tmp_path / "w.pth").write_bytes(b"")

    with pytest.raises(ConfigError, match=message) as caught:
        found(name, tmp_path / "w.pth")

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18"])
def test_weights_that_do_not_fit_are_code_3_and_harmful_ones_7(tmp_path, name):
    path = tmp_path / "w.pth"

    def error(kind):
        with pytest.raises(kind) as caught:
            found(name, path).module()
        return caught.value

    assert error(MissingFileError).exit_code == 3
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    unfit = error(CheckpointError)
    assert "missing, extra or of another shape" in unfit.problem
    assert name.partition(":")[2] in unfit.__notes__[0]
    torch.save(torch.nn.Linear(1, 1), path)
    assert error(SafetyError).exit_code == 7
    path.rename(tmp_path / "net-0123456789.pth")
    path = tmp_path / "net-0123456789.pth"
    wrong = error(CheckpointError)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in wrong.problem
    assert "0123456789" in wrong.problem


def torchvision_network(name, **options):
    with torch.random.fork_rng(devices=[]):
        return seeded(torchvision.models.get_model(name, weights=None, **options))


@pytest.mark.parametrize(
    ("name", "last", "options"),
    [
        ("resnet18", "fc", {}),
        ("mobilenet_v3_small", "classifier.3", {}),
        ("googlenet", "fc", {"init_weights": False, "transform_input": True}),
    ],
)
def test_torchvision_features_are_those_of_its_own_transforms(tmp_path, name, last, options):
    network = torchvision_network(name, **options)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    patches = smooth_patches()
    width = network.get_submodule(last).in_features

    encoder = found(f"torchvision:{name}", tmp_path / "w.pth")
    features = Encoding(encoder, CPU)(patches)

    parent, _, attribute = last.rpartition(".")
    setattr(network.get_submodule(parent), attribute, torch.nn.Identity())
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert features.shape == (3, width) == (3, encoder.dim)
    assert_alike(features, by_pil(network, transforms, patches))


def test_each_weights_of_torchvision_have_their_preprocessing_and_licence(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"read when the network is built")

    first, second = (
        found(f"torchvision:resnet50{which}", tmp_path / "w.pth")
        for which in ("@IMAGENET1K_V1", "")
    )

    assert "resized to 256 px" in first.preprocessing
    assert "resized to 232 px" in second.preprocessing
    published = torchvision_models.published_weights
    swag = torchvision_models.find_weights_of("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")
    plain = torchvision_models.find_weights_of("resnet18", "")
    assert "SWAG" in published(swag).licence
    assert published(plain).licence == "BSD-3-Clause"


def test_weights_of_torchvision_out_of_reach_are_code_5():
    with pytest.raises(ResourceError, match=r"no weights 'resnet18-f37072fd\.pth'") as caught:
        found("torchvision:resnet18")

    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in caught.value.hint


class NormFirst(torch.nn.Module):
    """A norm that stands behind a convolution in the file and in front of it in the function."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 3, 1)
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, pixels):
        return self.convolution(self.norm(pixels)).mean(dim=(2, 3))


def test_batch_norms_are_folded_only_where_the_function_stays_the_same():
    with torch.random.fork_rng(devices=[]):
        odd = seeded(NormFirst())
        plain = timm_network("resnet18", num_classes=0)
    noise = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def count(network):
        return sum(isinstance(each, torch.nn.BatchNorm2d) for each in network.modules())

    def copy_of(network):
        import copy

        return lambda: copy.deepcopy(network)

    with torch.no_grad():
        for network, kept in ((odd, 1), (plain, 0)):
            quick = fast(copy_of(network), 32)

            assert count(quick) == kept
            assert count(network) >= 1
            torch.testing.assert_close(quick(noise), network(noise), rtol=1e-3, atol=1e-4)


def test_families_leave_torchs_generator_alone(tmp_path):
    torch.save(timm_network("resnet10t").state_dict(), tmp_path / "a.pth")
    torch.save(torchvision_network("resnet18").state_dict(), tmp_path / "b.pth")
    before = torch.get_rng_state()

    found("timm:resnet10t", Path(tmp_path / "a.pth")).module()
    found("torchvision:resnet18", Path(tmp_path / "b.pth")).module()

    assert torch.equal(torch.get_rng_state(), before)
