"""Our patch encoders in TIAToolbox's engines: by name and as instance, patches and slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gimp_plugin import toolbox
from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import CheckpointError, ConfigError, PluginError
from gimp_plugin.slides.encoders import untrained
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from tests.resnet_factory import layer3_mean, seeded_resnet50
from tests.slide_factory import make_slide
from tests.slide_readers import borrow

REAL = Path(__file__).parents[2] / "shared/data/real_slides/CMU-1-Small-Region.svs"
needs_scan = pytest.mark.skipif(not REAL.exists(), reason="needs the evaluation data")
AS_READ = {
    "patch_input_shape": [256, 256],
    "input_resolutions": [{"units": "mpp", "resolution": 0.5}],
}
pytestmark = [
    pytest.mark.tiatoolbox,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # TIAToolbox
]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


@pytest.fixture
def extractor():
    """TIAToolbox's extractor of a model, after registering ours."""
    from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor

    toolbox.register()
    return lambda model, **named: DeepFeatureExtractor(model, batch_size=5, verbose=False, **named)


@pytest.fixture
def patches():
    return np.random.default_rng(3).integers(0, 256, (7, 256, 256, 3), np.uint8)


def test_encoders_without_an_argument_are_registered_once_and_for_all():
    from tiatoolbox import rcParam
    from tiatoolbox.models import architecture

    first, fetch = toolbox.register(), architecture.fetch_pretrained_weights
    again = toolbox.register()

    assert first == again
    assert {"gimp-resnet50", "gimp-efficientnet-lite0", "gimp-untrained"} <= set(first)
    assert not any(":" in name or name == "gimp-timm" for name in first)
    assert set(first) <= set(rcParam["pretrained_model_info"])
    assert architecture.fetch_pretrained_weights is fetch


def test_a_family_is_registered_with_its_argument():
    assert toolbox.register("torchvision:resnet18") == ("gimp-torchvision:resnet18",)


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="no patch encoder 'resnet5', did you mean 'resnet50'"):
        toolbox.register("resnet5")


def test_a_model_of_that_name_which_is_not_ours_stays(monkeypatch):
    from tiatoolbox import rcParam

    taken = {"architecture": {"class": "vanilla.CNNModel"}}
    monkeypatch.setitem(rcParam["pretrained_model_info"], toolbox.toolbox_name("untrained"), taken)

    with pytest.raises(PluginError, match="a different model 'gimp-untrained'"):
        toolbox.register()
    assert rcParam["pretrained_model_info"]["gimp-untrained"] is taken


def test_get_pretrained_model_gives_our_network_and_how_to_read_patches_for_it():
    from tiatoolbox.models.architecture import get_pretrained_model

    toolbox.register()

    model, config = get_pretrained_model("gimp-untrained")

    assert model.encoder.name == "untrained"
    assert list(config.patch_input_shape) == [256, 256]
    assert config.input_resolutions == [{"resolution": 0.5, "units": "mpp"}]


@pytest.mark.parametrize("way", ["name", "instance"])
def test_features_of_patches_are_those_of_our_own_encoding(extractor, patches, way):
    expected = Encoding(untrained(), Runtime(device="cpu"))(patches)
    model = "gimp-untrained" if way == "name" else toolbox.patch_encoder("untrained")

    found = extractor(model).run(patches, patch_mode=True, **AS_READ)["features"]

    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("mpp", "tolerance"), [(0.5, 0), (0.25, 0.03)])
def test_features_of_a_slide_are_those_of_extract_features(extractor, mpp, tolerance):
    """The same bits where a level is read as it is; TIAToolbox reduces pixels in its own way."""
    make_slide(Path("a.svs"), (round(600 / mpp), round(450 / mpp)), mpp=mpp, power=10 / mpp)
    config = ExtractionConfig(patch_encoder="untrained")
    extract_features([Path("a.svs")], config, output=Path("bags"), runtime=Runtime(device="cpu"))

    made = extractor("gimp-untrained").run(
        [Path("a.svs")], patch_mode=False, save_dir=Path("theirs"), output_type="zarr"
    )

    import zarr

    (store,) = made.values()
    theirs = zarr.open(store, mode="r")
    features, corners = theirs["features"][:], theirs["coordinates"][:, :2] * round(0.5 / mpp)
    (bag,) = list_bags(Path("bags"))
    at = {tuple(corner): row for row, corner in enumerate(corners.tolist())}
    rows = [at[tuple(corner)] for corner in read_coords(bag).tolist()]
    ours = read_features(bag)
    assert len(rows) >= 9
    assert np.abs(features[rows].astype(np.float16) - ours).max() <= tolerance
    assert np.abs(features[rows[::-1]].astype(np.float16) - ours).max() > 0.1


@needs_scan
def test_features_of_a_real_scan_are_ours_when_its_level_0_is_read_as_it_is(extractor):
    """It states mpp=0.499, which TIAToolbox would resample to 0.5."""
    config = ExtractionConfig(patch_encoder="untrained")
    extract_features([REAL], config, output=Path("bags"), runtime=Runtime(device="cpu"))
    as_it_is = {"units": "baseline", "resolution": 1.0}

    made = extractor("gimp-untrained").run(
        [REAL],
        patch_mode=False,
        input_resolutions=[as_it_is],
        save_dir=Path("theirs"),
        output_type="zarr",
    )

    import zarr

    theirs = zarr.open(made[REAL], mode="r")
    (bag,) = list_bags(Path("bags"))
    corners = theirs["coordinates"][:, :2].tolist()
    rows = [corners.index(corner) for corner in read_coords(bag).tolist()]
    assert len(rows) > 30
    np.testing.assert_array_equal(
        theirs["features"][:][rows].astype(np.float16), read_features(bag)
    )


@pytest.mark.parametrize("way", ["name", "instance"])
def test_weights_given_by_the_user_give_the_features_of_torchvisions_modules(
    extractor, patches, way
):
    network = seeded_resnet50()
    torch.save(network.state_dict(), "w.pth")
    weights = Path("w.pth")

    if way == "name":
        engine = extractor("gimp-resnet50", weights=weights)
    else:
        engine = extractor(toolbox.patch_encoder("resnet50", weights=weights))

    found = engine.run(patches[:3], patch_mode=True, **AS_READ)["features"]
    assert found.shape == (3, 1024)
    np.testing.assert_allclose(found, layer3_mean(network, patches[:3]), rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_are_refused(extractor):
    torch.save({"conv1.weight": torch.zeros(3, 5)}, "w.pth")

    with pytest.raises(CheckpointError):
        extractor("gimp-resnet50", weights=Path("w.pth"))


def test_patches_that_are_not_8_bit_are_refused(extractor, patches):
    with pytest.raises(ConfigError, match=r"a patch is float64 of shape \(256, 256, 3\)"):
        extractor("gimp-untrained").run(patches / 255, patch_mode=True)


def test_models_of_tiatoolbox_itself_are_fetched_as_before(monkeypatch):
    from tiatoolbox.models import architecture

    toolbox.register()
    asked = []
    monkeypatch.setattr(architecture, "hf_hub_download", lambda **named: asked.append(named) or "x")

    assert architecture.fetch_pretrained_weights("resnet18-kather100k") == "x"
    assert asked[0]["filename"] == "resnet18-kather100k.pth"
