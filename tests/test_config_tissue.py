"""What may stand after `--tissue`."""

from __future__ import annotations

import pytest

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.config.tissue import parse_tissue
from gimp_plugin.errors import ConfigError


def test_parameters_are_stored_in_one_spelling():
    def stored(text):
        return ExtractionConfig(tissue=text).tissue

    assert stored("otsu") == "otsu"
    assert stored("clam:a_t=100,use_otsu=False") == "clam"
    assert stored("clam:a_h=4, a_t=16") == stored("clam:a_t=16.0,a_h=4") == "clam:a_t=16,a_h=4"
    assert stored(stored("clam:use_otsu=true,a_t=0.5")) == "clam:use_otsu=true,a_t=0.5"
    assert parse_tissue(stored("clam:a_t=0.125"))[1].a_t == 0.125


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clamm", "'clamm' is unknown, did you mean 'clam'"),
        ("otsu:a_t=1", "'otsu' has no parameters"),
        ("clam:a_tt=1", "unknown key 'a_tt', did you mean 'a_t'"),
        ("clam:a_t", "'a_t' is not NAME=VALUE"),
        ("clam:", "'' is not NAME=VALUE"),
        ("clam:mthresh=8", "mthresh = 8, expected an odd number"),
        ("clam:a_t=-1", "a_t = -1.0 is out of range"),
        ("clam:close=many", "'close=many' is not NAME=VALUE"),
        ("clam:close=2.5", "close = 2.5 has the wrong type"),
        ("clam:sthresh=256", "sthresh = 256 is out of range"),
    ],
)
def test_what_is_no_method_or_parameter_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        ExtractionConfig(tissue=text)

    assert message in caught.value.problem
