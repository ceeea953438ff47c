"""`module:attribute` as a patch encoder: each form, its identity, and what is wrong with it."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import CheckpointError, ConfigError, PluginError
from gimp_plugin.plugins import Registry, registry
from gimp_plugin.slides.encoders import finding
from gimp_plugin.slides.encoders.hashing import code_of, state_sha256
from gimp_plugin.slides.encoding import Encoding
from tests import plugin_factory

CPU = Runtime(device="cpu", precision="fp32")
PATCHES = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
SOURCE = """
    import numpy as np
    import torch
    from torch import nn

    class Colours(nn.Module):
        '''Mean and standard deviation of each channel: 6-d, 8-bit pixels in.'''

        input_size = 20
        mpp = 1.0
        licence = "MIT"

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((3,), 0.5))

        def forward(self, patches):
            pixels = patches.flatten(1, 2) * self.scale
            return torch.cat([pixels.mean(dim=1), pixels.std(dim=1)], dim=1)

    class Mean(nn.Module):
        '''Mean of normalised channels: what a transform gives.'''

        def forward(self, images):
            return images.mean(dim=(2, 3))

    def transform(image):
        assert image.mode == 'RGB'  # a PIL image
        colours = torch.tensor(np.asarray(image.resize((7, 5))))
        return colours.float().permute(2, 0, 1) / 255

    class WithTransform(Mean):
        def __init__(self):
            super().__init__()
            self.transform = transform

    class Holder:
        inner = Colours()

    instance = Colours()
    pair = (Mean(), transform)

    def build():
        return Mean(), transform

    build.dim, build.licence = 3, "CC0-1.0"
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the user; gives its name and a function that writes it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(source=SOURCE, name="my_encoders"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        names.append(name)
        return name

    write.folder = tmp_path
    yield write
    for name in names:
        sys.modules.pop(name, None)


def found(name, weights=""):
    config = ExtractionConfig(patch_encoder=name, weights=str(weights))
    return finding.find_encoder(config, offline=True)


def test_a_resolution_that_is_not_the_encoders_is_told(module, caplog):
    name = f"{module()}:Colours"

    for mpp in (1.0, 0.5):
        finding.find_encoder(ExtractionConfig(patch_encoder=name, mpp=mpp), offline=True)

    (record,) = caplog.records
    assert "expects mpp=1, but the patches have mpp=0.5" in record.message


def small_means():
    images = [Image.fromarray(patch).resize((7, 5)) for patch in PATCHES]
    return np.stack([np.asarray(image).reshape(-1, 3).mean(axis=0) / 255 for image in images])


def test_a_network_gets_8_bit_pixels_of_the_size_that_it_states(module):
    name = module()

    for attribute in ("Colours", "instance", "Holder.inner"):
        encoder = found(f"{name}:{attribute}")
        features = Encoding(encoder, CPU)(PATCHES[:, :20, :20])

        pixels = PATCHES[:, :20, :20].reshape(3, -1, 3) / 2
        expected = np.concatenate([pixels.mean(axis=1), pixels.std(axis=1, ddof=1)], axis=1)
        assert (encoder.dim, encoder.input_size, encoder.mpp) == (6, 20, 1.0)
        assert (encoder.licence, encoder.name) == ("MIT", f"{name}:{attribute}")
        np.testing.assert_allclose(features, expected, rtol=1e-5)
    even = np.full((1, 33, 33, 3), 90, np.uint8)
    np.testing.assert_allclose(Encoding(encoder, CPU)(even), [[45, 45, 45, 0, 0, 0]], atol=1e-4)


@pytest.mark.parametrize("attribute", ["pair", "build", "WithTransform"])
def test_a_transform_gets_each_patch_as_a_pil_image(module, attribute):
    encoder = found(f"{module()}:{attribute}")

    features = Encoding(encoder, CPU)(PATCHES)

    assert encoder.dim == 3
    assert encoder.licence == ("CC0-1.0" if attribute == "build" else "unknown")
    np.testing.assert_allclose(features, small_means(), rtol=1e-5)


def test_weights_are_loaded_by_name(module, tmp_path):
    name = module()
    torch.save({"scale": torch.tensor([1.0, 2.0, 3.0])}, tmp_path / "w.pth")
    torch.save({"scale": torch.tensor([1.0])}, tmp_path / "unfit.pth")

    encoder = found(f"{name}:Colours", tmp_path / "w.pth")

    small = PATCHES[:, :20, :20]
    means = small.reshape(3, -1, 3).mean(axis=1)
    np.testing.assert_allclose(Encoding(encoder, CPU)(small)[:, :3], means * [1, 2, 3], rtol=1e-5)
    assert encoder.weights_sha256 != found(f"{name}:Colours").weights_sha256
    with pytest.raises(CheckpointError, match="another shape: 'scale'") as caught:
        found(f"{name}:Colours", tmp_path / "unfit.pth")
    assert f"state dict of '{name}:Colours'" in caught.value.__notes__[0]


def test_the_hash_of_an_encoder_is_that_of_its_weights_code_and_transform(module):
    name = module()
    first = {each: found(f"{name}:{each}").weights_sha256 for each in ("instance", "pair")}

    assert {each: found(f"{name}:{each}").weights_sha256 for each in first} == first
    module(SOURCE + "\n    # a word more\n")
    edited = {each: found(f"{name}:{each}").weights_sha256 for each in first}
    module(SOURCE.replace("0.5", "0.25"))
    lighter = {each: found(f"{name}:{each}").weights_sha256 for each in first}

    assert len({*first.values(), *edited.values(), *lighter.values()}) == 6


def test_the_module_that_was_named_counts_where_the_network_is_of_another(module):
    source = "import torch\nnet = torch.nn.Flatten()\nnet.dim = 4800\n"
    first = found(f"{module(source)}:net")

    second = found(f"{module(source + '# edited')}:net")

    assert first.weights_sha256 != second.weights_sha256
    assert "my_encoders (sha256" in first.preprocessing


def test_code_is_known_by_its_version_where_it_is_installed_else_by_its_files(module):
    import pluggy

    installed = code_of(pluggy.PluginManager)
    own = code_of(importlib.import_module(module()).Colours)

    assert re.fullmatch(r"pluggy \d.*", installed["pluggy"])
    assert re.fullmatch(r"sha256 [0-9a-f]{64}", own["my_encoders"])
    assert code_of(torch.nn.Linear) == {}


def test_all_files_of_a_package_are_its_code(module):
    package = module.folder / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(textwrap.dedent(SOURCE))
    (package / "helper.py").write_text("x = 1\n")
    importlib.invalidate_caches()
    before = found("my_package.nets:instance").weights_sha256

    (package / "helper.py").write_text("x = 2\n")

    assert found("my_package.nets:instance").weights_sha256 != before
    for name in ("my_package", "my_package.nets"):
        sys.modules.pop(name)


def test_the_hash_of_a_state_depends_on_names_shapes_types_and_values_and_on_no_order():
    def network(**tensors):
        made = torch.nn.Module()
        for name, value in tensors.items():
            made.register_buffer(name, value)
        return state_sha256(made)

    a, b = torch.arange(6.0), torch.ones(2, dtype=torch.bfloat16)
    others = [
        network(a=a, c=b), network(a=a.reshape(2, 3), b=b), network(a=a.half(), b=b),
        network(a=a, b=b * 2), network(a=a), network(a=a.reshape(3, 2).T, b=b),
    ]  # fmt: skip

    assert network(a=a, b=b) == network(b=b.clone(), a=a)
    assert len({network(a=a, b=b), *others}) == 7
    assert network(a=torch.tensor(1)) != network(a=torch.tensor(2))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 3", "'bad_one:x' is a int"),
        ("x = (1, 2, 3)", "'bad_one:x' is a tuple that gives a tuple"),
        ("def x(): return 5", "'bad_one:x' is a function that gives a int"),
        ("def x(): raise OSError('no such disk')", "cannot be made: OSError: no such disk"),
        ("y = 1", "the module 'bad_one' has no 'x'"),
        ("import nosuchpackage", "cannot be imported: ModuleNotFoundError"),
        ("raise ValueError('what')", "cannot be imported: ValueError: what"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit"),
        ("from torch import nn; x = nn.Conv2d(3, 4, 3)", "'bad_one:x' failed on patches"),
        ("from torch import nn; x = nn.Identity()", r"gave \(1, 256, 256, 3\) for one patch"),
        ("from torch import nn; x = nn.Flatten(); x.dim = -1", "gives dim = -1"),
        ("from torch import nn; x = nn.Flatten(); x.input_size = 1.5", "gives input_size = 1.5"),
        ("from torch import nn; x = nn.Flatten(); x.mpp = 'far'", "gives mpp = 'far'"),
        ("from torch import nn; x = nn.Flatten(), lambda i: 3", "the transform of Flatten gave"),
    ],
)
def test_what_is_no_encoder_is_code_2_and_named(module, body, message):
    name = module(body, "bad_one")

    with pytest.raises(ConfigError, match=message) as caught:
        found(f"{name}:x")

    assert caught.value.exit_code == 2
    assert "bad_one" in caught.value.problem or "transform" in caught.value.problem


def test_a_module_that_is_not_there_is_told_with_the_families(module):
    with pytest.raises(ConfigError, match="unknown patch encoder 'nosuchmodule'") as caught:
        found("nosuchmodule:x")

    assert "'timm', 'torchvision'" in caught.value.hint
    assert (
        "a module 'nosuchmodule'; to use this folder, set PYTHONPATH=." in caught.value.__notes__[0]
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("patches.float()[:, 0, 0, :2]", r"gave shape \(3, 2\), expected one vector"),
        ("None", "gave a NoneType"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_network_gives_wrong_is_told_with_the_encoders_name(module, body, message):
    name = module(
        f"""
        from torch import nn
        class Net(nn.Module):
            dim = 3
            def forward(self, patches):
                return {body}
        """
    )
    encoding = Encoding(found(f"{name}:Net"), CPU)

    with pytest.raises(ConfigError, match=message) as caught:
        encoding(PATCHES)

    assert "'my_encoders:Net'" in caught.value.problem


def test_a_lack_of_memory_stays_one(module):
    name = module(
        """
        import torch
        class Net(torch.nn.Module):
            dim = 3
            def forward(self, patches):
                if len(patches) > 1:
                    raise torch.OutOfMemoryError("full")
                return patches.float().mean(dim=(1, 2))
        """
    )

    features = Encoding(found(f"{name}:Net"), CPU)(PATCHES)

    np.testing.assert_allclose(features, PATCHES.mean(axis=(1, 2)), rtol=1e-5)


PLUGIN = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("patch-encoder", "ours", "family_plugin:family", "ours:NAME, a family"),
                ("patch-encoder", "broken", "family_plugin:broken", "raises")]

    def family(*, argument, weights=None, offline=False):
        from gimp_plugin.slides.encoders import Encoder
        from torch import nn
        return Encoder(name=f"ours:{argument}", dim=int(argument), input_size=8, mpp=0.5,
                       weights_sha256="x", licence="MIT", preprocessing="none", build=nn.Identity)

    def broken(*, weights, offline):
        raise KeyError("oh")
"""


@pytest.fixture
def with_plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = plugin_factory.install(tmp_path, "family-plugin", PLUGIN)
    registry.cache_clear()
    yield
    registry.cache_clear()
    sys.modules.pop(name, None)


def test_a_plugin_may_bring_a_family(with_plugin):
    assert isinstance(registry(), Registry)
    assert "ours" in registry().names("patch-encoder")
    assert (found("ours:17").name, found("ours:17").dim) == ("ours:17", 17)
    with pytest.raises(ConfigError, match="'ours' is a family"):
        found("ours")
    with pytest.raises(ConfigError, match=r"'ours:0' gives dim = 0, expected a positive number"):
        found("ours:0")
    with pytest.raises(PluginError, match=r"'ours:x' of plugin 'other' of family-plugin 2.1 fail"):
        found("ours:x")
    with pytest.raises(PluginError, match="KeyError"):
        found("broken")


def test_a_name_says_whether_it_is_code():
    for name in ("os:getcwd", "import:os:getcwd", "timmy:x"):
        assert finding.imports_code(name)
    for name in ("resnet50", "timm:resnet18", "torchvision:resnet18@DEFAULT", "unknown"):
        assert not finding.imports_code(name)


@pytest.mark.tiatoolbox
def test_a_model_of_tiatoolbox_is_run_by_its_own_functions(module, tmp_path, caplog):
    from tiatoolbox.models.architecture.vanilla import CNNBackbone
    from torch.utils.data import DataLoader

    name = module(
        """
        from tiatoolbox.models.architecture.vanilla import CNNBackbone
        import numpy as np, torch

        class Backbone(CNNBackbone):
            '''Another preprocessing, and one array in place of a list.'''
            def __init__(self):
                super().__init__("mobilenet_v3_small")
                self.preproc_func = lambda image: (image / np.float32(255))
            @staticmethod
            def infer_batch(model, batch_data, *, device):
                return CNNBackbone.infer_batch(model, batch_data, device=device)[0]

        class Two(Backbone):
            dim = 576
            @staticmethod
            def infer_batch(model, batch_data, *, device):
                return [np.zeros((len(batch_data), 2))] * 2

        instance = Backbone()
        """
    )
    model = importlib.import_module(name).instance.eval()
    prepared = [model.preproc_func(patch) for patch in PATCHES]
    (batch,) = DataLoader(prepared, batch_size=3)
    expected = model.infer_batch(model, batch, device="cpu")

    features = Encoding(found(f"{name}:instance"), CPU)(PATCHES)

    assert expected.std(axis=0).max() > 0
    np.testing.assert_allclose(features, expected, atol=1e-5)
    narrow = Runtime(device="cpu", precision="bf16")  # which numpy does not have
    again = Encoding(found(f"{name}:instance"), narrow)(PATCHES)
    np.testing.assert_array_equal(again, features)
    with pytest.raises(ConfigError, match="infer_batch of Two gave 2 outputs"):
        Encoding(found(f"{name}:Two"), CPU)(PATCHES)

    torch.save(model.state_dict(), tmp_path / "w.pth")
    by_name = found("tiatoolbox:mobilenet_v3_small", tmp_path / "w.pth")
    (raw,) = CNNBackbone.infer_batch(model, torch.from_numpy(PATCHES), device="cpu")
    np.testing.assert_allclose(Encoding(by_name, CPU)(PATCHES), raw, rtol=1e-4, atol=1e-4)
    assert "random weights" not in caplog.text
    random = [found("tiatoolbox:mobilenet_v3_small") for _ in range(2)]
    assert "TIAToolbox gives 'mobilenet_v3_small' random weights" in caplog.text
    assert random[0].weights_sha256 == "untrained"
    np.testing.assert_array_equal(*(Encoding(one, CPU)(PATCHES) for one in random))
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        found("tiatoolbox:resnet5O")
