"""Processes that tests kill: forked from one that has imported what they need, once a session."""

from __future__ import annotations

import multiprocessing

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "distributed",
        "gimp_plugin.plugins.builtin",
        "gimp_plugin.studies.benchmark",
        "matplotlib.backends.backend_svg",
        "scanpy",
        "sklearn.metrics",
        "tests.benchmark_factory",
        "tests.study_factory",
        "torch._dynamo",
    ]
)
