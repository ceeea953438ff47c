"""Life-cycle hooks: what plugins hear, and that the work is the same whatever they do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.plugins.telling import tell_epoch
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.slides.ledger import Ledger
from gimp_plugin.slides.status import Status
from gimp_plugin.storage import runs
from gimp_plugin.storage.bags import read_info
from gimp_plugin.training import pretrain
from tests.plugin_factory import installing
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.study_factory import make_study, tiny_config

HEARING = """
    from gimp_plugin.plugins import hookimpl

    heard = []

    @hookimpl
    def gimp_slide_done(slide_id, bag, n_patches):
        heard.append((slide_id, bag, bag.exists(), n_patches))

    @hookimpl
    def gimp_epoch_done(stage, epoch, n_epochs, metrics, run):
        heard.append((stage, epoch, n_epochs, dict(metrics), run))
        metrics.clear()
"""
RAISING = """
    import sys
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_slide_done(n_patches):
        raise ValueError(f"{n_patches} are too many")

    @hookimpl
    def gimp_epoch_done(stage, metrics):
        import torch
        torch.manual_seed(0)
        torch.rand(7)
        metrics["loss"] = 0
        sys.exit(f"no more {stage}")
"""


@pytest.fixture
def plugin(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    with installing(site) as install:
        yield install


def heard():
    return sys.modules["hearing_plugin"].heard


def test_every_epoch_is_told_and_the_run_is_the_same_bytes_as_without_plugins(
    plugin, tmp_path, caplog
):
    study = make_study(tmp_path)
    pretrain(study, tiny_config(), output=tmp_path / "alone", runtime=Runtime())
    plugin("raising-plugin", RAISING, entry="a")
    plugin("hearing-plugin", HEARING, entry="b")

    run = pretrain(study, tiny_config(), output=tmp_path / "told", runtime=Runtime())

    stages = run.metrics["stages"]
    assert heard() == [
        (stage, number, len(stages[stage]["epochs"]), metrics, tmp_path / "told")
        for stage in ("genes", "pretrain")
        for number, metrics in enumerate(stages[stage]["epochs"], start=1)
    ]
    for name in runs.RESULTS:
        assert (tmp_path / "told" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    warning = "plugin 'a' of raising-plugin 2.1: gimp_epoch_done raised SystemExit: no more genes"
    assert caplog.text.count(warning) == len(stages["genes"]["epochs"])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_every_new_bag_is_told_once_it_is_there_and_no_bag_that_is_kept(
    plugin, monkeypatch, tmp_path, caplog
):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    plugin("raising-plugin", RAISING, entry="a")
    plugin("hearing-plugin", HEARING, entry="b")
    config = ExtractionConfig(patch_encoder="untrained", patch_size=96)
    paths = [Path("slides") / f"{name}.svs" for name in (1, 2)]
    for seed, path in enumerate(paths):
        make_slide(path, seed=seed)

    first = extract_features(paths[:1], config, output=Path("features"))
    second = extract_features(paths, config, output=Path("features"))

    bags = [Path("features") / f"{name}.h5" for name in (1, 2)]
    sizes = [read_info(bag).n_patches for bag in bags]
    assert heard() == [("1", bags[0], True, sizes[0]), ("2", bags[1], True, sizes[1])]
    assert (first.done, second.done, second.kept, second.failures) == (("1",), ("2",), ("1",), ())
    assert f"gimp_slide_done raised ValueError: {sizes[1]} are too many" in caplog.text


def test_a_slide_that_another_process_made_for_us_is_told(tmp_path):
    make_slide(tmp_path / "a.svs")
    (slide,) = find_slides([tmp_path / "a.svs"])
    told = []
    ledger = Ledger(Status(tmp_path), n_slides=1, told=lambda *values: told.append(values))

    ledger.count(slide, 17)

    assert told == [(slide, 17)]


def test_without_a_plugin_that_listens_nothing_happens(plugin, tmp_path, caplog):
    plugin("other-plugin")

    tell_epoch("genes", 1, n_epochs=2, metrics={"loss": 1.0}, run=tmp_path)

    assert caplog.text == ""
