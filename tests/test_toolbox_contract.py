"""What we rely on in TIAToolbox is there, and a version without it is refused by name."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

from gimp_plugin.errors import PluginError
from gimp_plugin.toolbox import contract, register

RELIANCES = [
    pytest.param(part, one, id=f"{part}-{one.name.rpartition('.')[2]}")
    for part, reliances in contract.RELIANCES.items()
    for one in reliances
]


def parts_of(name):
    """What holds a thing, and the thing's own name."""
    where, _, attribute = name.rpartition(":")
    outer, _, own = attribute.rpartition(".")
    return pkgutil.resolve_name(f"{where}:{outer}" if outer else where), own


def lose(monkeypatch, owner, own):
    """Take a thing away, from the classes that it is inherited from as well."""
    for holder in getattr(owner, "__mro__", (owner,)):
        if own in vars(holder) and holder is not object:
            monkeypatch.delattr(holder, own)


@pytest.mark.tiatoolbox
@pytest.mark.parametrize("part", contract.RELIANCES)
def test_the_installed_tiatoolbox_is_as_we_need_it(part):
    contract.check(part)


@pytest.mark.tiatoolbox
@pytest.mark.parametrize(
    ("part", "one"), [one for one in RELIANCES if not one.id.endswith("__init__")]
)
def test_a_thing_that_is_gone_is_named_with_the_versions(monkeypatch, part, one):
    owner, own = parts_of(one.name)
    monkeypatch.setattr("tiatoolbox.__version__", "2.9.7")
    lose(monkeypatch, owner, own)

    with pytest.raises(PluginError, match=r"tiatoolbox 2\.9\.7 differs from 2\.1\.3") as caught:
        contract.check(part)
    assert f"{one.name!r} is missing" in str(caught.value)
    assert "install tiatoolbox 2.1.3" in caught.value.hint


@pytest.mark.tiatoolbox
@pytest.mark.parametrize(("part", "one"), [one for one in RELIANCES if one.values[1].parameters])
def test_other_parameters_are_told_beside_those_expected(monkeypatch, part, one):
    owner, own = parts_of(one.name)
    monkeypatch.setattr(owner, own, lambda images_and_more: images_and_more)

    with pytest.raises(PluginError) as caught:
        contract.check(part)
    expected = f"takes (images_and_more), expected also {one.parameters[0]}"
    assert f"{one.name!r} {expected}" in str(caught.value)


@pytest.mark.tiatoolbox
def test_an_engine_that_finds_models_elsewhere_is_refused_before_anything_is_registered(
    monkeypatch,
):
    from tiatoolbox import rcParam
    from tiatoolbox.models.engine import engine_abc

    infos = rcParam["pretrained_model_info"]
    monkeypatch.setattr(engine_abc, "get_pretrained_model", lambda name, weights: None)
    for name in [name for name in infos if name.startswith("gimp-")]:
        monkeypatch.delitem(infos, name)

    with pytest.raises(PluginError, match="expected the same object"):
        register()
    assert not any(name.startswith("gimp-") for name in infos)


PROGRAM = """
import logging, sys, warnings
root = logging.getLogger()
shown_by, filters = warnings.showwarning, list(warnings.filters)
import gimp_plugin.toolbox as toolbox
assert not {"torch", "tiatoolbox"} & set(sys.modules), "importing the room is not free"
toolbox.register()
toolbox.GimpPredictor, toolbox.attention_renderer()
assert "tiatoolbox.models" in sys.modules
assert root.handlers == [] and root.level == logging.WARNING
assert warnings.showwarning is shown_by
assert list(warnings.filters) == filters
logging.captureWarnings(True)
assert warnings.showwarning is not shown_by, "the user's own wish has no effect any more"
logging.getLogger("theirs").info("nobody asked for this")
print("as it was")
"""


@pytest.mark.slow
@pytest.mark.tiatoolbox
def test_logging_and_warnings_stay_as_the_user_has_set_them():
    command = [sys.executable, "-c", PROGRAM]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "as it was\n"), done.stderr
