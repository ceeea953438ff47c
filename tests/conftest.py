"""What every test runs under: checked tensor shapes, and nothing of the user's environment."""

from __future__ import annotations

import gc
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; results depend on it
os.environ.setdefault(
    "NUMBA_NUM_THREADS", "1"
)  # else torch has more threads after scanpy's neighbors

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

from tests import shape_checks

# Shapes are checked where tensors are computed; the hook must stand before those are imported.
CHECKED_ROOMS = (
    "gimp_plugin.models",
    "gimp_plugin.training",
    "gimp_plugin.prediction",
    "gimp_plugin.explain",
    "gimp_plugin.slides.networks",
)
install_import_hook(CHECKED_ROOMS, f"{shape_checks.__name__}.checked")


# The same examples at every run; new ones, and more of them: pytest --hypothesis-profile search
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch):
    """Keep the user's plugin switch and model hub out of the tests."""
    monkeypatch.delenv("GIMP_DISABLE_PLUGINS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk():
    """Write without waiting until the disk has it: a test ends before the power does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def collections_pass_over_what_is_imported():
    """Freeze what is there: a collection takes 0.3 s with it, and comparisons ask for many."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def learning_curves_in_words():
    """Write what would be drawn: pictures take longer than most trainings of tests do."""
    folder = sys.modules.get("gimp_plugin.training.folder")
    with pytest.MonkeyPatch.context() as patch:
        if folder is not None:
            patch.setattr(folder, "learning_curves", lambda stages: repr(stages).encode())
        yield


@pytest.fixture(scope="module")
def threads():
    """Give a scheduler of dask with two workers in this process, which cost nothing to start."""
    from distributed import LocalCluster

    with LocalCluster(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with the files that have slow tests, so that no process ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # stable: the rest of the order stays
