"""Conformance kit: check that a component meets the protocol of its kind.

The protocols are in `gimp_plugin.plugins.protocols`. For the tests of a plugin: each function takes
a registered component, tries it with small odd sizes on the CPU, and raises an `AssertionError`
that says what is wrong. No test runner is needed:

    from gimp_plugin.testing import check_aggregator

    def test_the_aggregator_keeps_the_contract():
        check_aggregator(MeanAggregator.from_config)
"""

from __future__ import annotations

from collections.abc import Callable

from gimp_plugin.testing.aggregators import check_aggregator
from gimp_plugin.testing.groupings import check_gene_grouping
from gimp_plugin.testing.parts import check_fusion, check_gene_encoder, check_head
from gimp_plugin.testing.patch_encoders import check_patch_encoder
from gimp_plugin.testing.readers import check_feature_reader
from gimp_plugin.testing.systems import check_system
from gimp_plugin.testing.trainers import check_trainer

__all__ = [
    "CHECKS",
    "check_aggregator",
    "check_feature_reader",
    "check_fusion",
    "check_gene_encoder",
    "check_gene_grouping",
    "check_head",
    "check_patch_encoder",
    "check_system",
    "check_trainer",
]

CHECKS: dict[str, Callable[..., None]] = {
    "patch-encoder": check_patch_encoder,
    "gene-encoder": check_gene_encoder,
    "aggregator": check_aggregator,
    "fusion": check_fusion,
    "head": check_head,
    "system": check_system,
    "trainer": check_trainer,
    "gene-grouping": check_gene_grouping,
    "feature-reader": check_feature_reader,
}
"""The check for each kind of component."""
