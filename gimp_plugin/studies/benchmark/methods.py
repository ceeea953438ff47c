"""The methods by name; each method of a comparison is one entry here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import ConfigError, did_you_mean
from gimp_plugin.plugins import registry
from gimp_plugin.studies.benchmark.arms import ABMIL, network, shuffled, swapped
from gimp_plugin.studies.benchmark.baselines import late_fusion, logistic
from gimp_plugin.studies.benchmark.cells import Method
from gimp_plugin.studies.benchmark.printed import SETS
from gimp_plugin.studies.benchmark.protocol import ALL
from gimp_plugin.studies.chain import PRETRAINED

REFERENCE = "gimp"
PARTS = ("gene-encoder", "aggregator", "fusion", "head", "system", "trainer", "gene-grouping")
SETTING_EXAMPLE = "+model.aggregator=abmil"
_SETTING = re.compile(r"\+(?=[a-z_]+\.[a-z_]+=)")
_BOTH, _SLIDES, _GENES = (
    {"model.modalities": halves} for halves in (keys.BOTH, keys.SLIDES, keys.GENES)
)

_SNN = {"model.gene_encoder": "snn"}
_NO_MPM = {"pretrain.reconstruction_weight": 0.0}
_NO_TRIPLETS = {"pretrain.patient_triplet_weight": 0.0, "pretrain.image_triplet_weight": 0.0}


def _system(name: str, halves: str, summary: str) -> Method:
    """Make the method of a registered system, trained from scratch on the halves that it reads."""
    changes = {"model.system": name, "model.modalities": halves}
    return Method(name=name, summary=summary, train=partial(network, start="none", changes=changes))


def _row(name: str, summary: str, changes: Mapping[str, Any], start: str = PRETRAINED) -> Method:
    """Make the method of a row of the paper's Table 2: GiMP without some part."""
    return Method(
        name=name,
        summary=summary,
        train=partial(network, start=start, changes={**_BOTH, **changes}),
        by_name_only=True,
    )


_TABLE = (
    Method(
        name="gimp",
        summary="GiMP, pre-trained and fine-tuned",
        train=partial(network, start=PRETRAINED, changes=_BOTH),
    ),
    Method(
        name="gimp-genes",
        summary="GiMP after gene pre-training only",
        train=partial(network, start="genes", changes=_BOTH),
    ),
    Method(
        name="gimp-none",
        summary="GiMP from scratch",
        train=partial(network, start="none", changes=_BOTH),
    ),
    Method(
        name="gimp-slides",
        summary="GiMP's image half alone, pre-trained and fine-tuned",
        train=partial(network, start=PRETRAINED, changes=_SLIDES),
    ),
    Method(
        name="gimp-slides-none",
        summary="GiMP's image half alone, from scratch",
        train=partial(network, start="none", changes=_SLIDES),
        by_name_only=True,
    ),
    Method(
        name="gimp-gene-half",
        summary="GiMP's gene half alone, pre-trained and fine-tuned",
        train=partial(network, start="genes", changes=_GENES),
    ),
    *(
        Method(
            name=name,
            summary=f"{title}'s pre-training on GiMP's encoders ({source})",
            train=partial(network, start=PRETRAINED, changes={**_BOTH, "model.trainer": name}),
        )
        for name, title, source in (
            ("mgca", "MGCA", "arXiv 2210.06044"),
            ("biovil", "BioViL", "arXiv 2204.09817"),
            ("refers", "REFERS", "doi 10.1038/s42256-021-00425-9"),
        )
    ),
    Method(
        name="abmil",
        summary="gated attention MIL on slides (arXiv 1802.04712)",
        train=partial(network, start="none", changes=ABMIL),
    ),
    _system("dsmil", keys.SLIDES, "DSMIL on slides (arXiv 2011.08939)"),
    _system("clam-sb", keys.SLIDES, "CLAM on slides, one branch (arXiv 2004.09666)"),
    _system("clam-mb", keys.SLIDES, "CLAM on slides, one branch per class (arXiv 2004.09666)"),
    _system("transmil", keys.SLIDES, "TransMIL on slides (arXiv 2106.00908)"),
    _system("snn", keys.GENES, "self-normalising network on genes (arXiv 1706.02515)"),
    _system("porpoise", keys.BOTH, "PORPOISE (doi 10.1016/j.ccell.2022.07.004)"),
    _system("pathomic-fusion", keys.BOTH, "Pathomic Fusion (arXiv 1912.08937)"),
    _system("mcat", keys.BOTH, "MCAT (doi 10.1109/ICCV48922.2021.00398)"),
    Method(
        name="logistic-genes",
        summary="logistic regression on genes",
        train=partial(logistic, modalities=keys.GENES),
    ),
    Method(
        name="logistic-bag",
        summary="logistic regression on the mean of all patches",
        train=partial(logistic, modalities=keys.SLIDES),
    ),
    Method(
        name="logistic-both",
        summary="logistic regression on genes and the mean of all patches",
        train=partial(logistic, modalities=keys.BOTH),
    ),
    Method(
        name="late-fusion",
        summary="mean of the logits of logistic-genes and abmil",
        train=late_fusion,
        needs=("logistic-genes", "abmil"),
    ),
    _row("gimp-snn", "Table 2: gimp-genes with SNN for GroupMSA", _SNN, start="genes"),
    _row("gimp-mpm", "Table 2: gimp, pre-trained without triplets", _NO_TRIPLETS),
    _row(
        "gimp-image-triplet",
        "Table 2: gimp, pre-trained by triplets of slides only",
        {**_NO_MPM, **_NO_TRIPLETS, "pretrain.image_triplet_weight": 1.0},
    ),
    _row("gimp-triplet", "Table 2: gimp, pre-trained without masked patches", _NO_MPM),
    Method(
        name="gimp-shuffled",
        summary="control: gimp-genes on shuffled training labels",
        train=shuffled,
        by_name_only=True,
    ),
    Method(
        name="swapped",
        summary="control: gimp, the slides of the test cases swapped among them",
        train=swapped,
        needs=("gimp",),
        by_name_only=True,
    ),
)

METHODS = {method.name: method for method in _TABLE}
"""Methods in the order in which they run; each comes after those that it needs."""


def method_of(name: str) -> Method:
    """Find a method by name, or a network with other settings.

    Parameters
    ----------
    name
        A name of `METHODS`; that of a network may be followed by changed settings with dotted
        names: `gimp+model.aggregator=abmil+pretrain.epochs=5`.

    Returns
    -------
    The method.

    Raises
    ------
    ConfigError
        If there is no method of this name, or settings are given and it has none.

    Examples
    --------
    >>> method_of("gimp+model.aggregator=abmil").train.keywords["changes"]["model.aggregator"]
    'abmil'
    """
    if name in METHODS:
        return METHODS[name]
    base, *given = _SETTING.split(name)
    if base not in METHODS:
        known = (ALL, *SETS, *METHODS)
        problem = f"unknown method {base!r}{did_you_mean(base, known)}"
        raise ConfigError(problem, hint=_other_way(base) or f"methods: {', '.join(known)}")
    method = METHODS[base]
    if not (isinstance(method.train, partial) and method.train.func is network):
        problem = f"method {name!r}: {base!r} is not a network with settings of its own"
        raise ConfigError(problem, hint=f"as in gimp{SETTING_EXAMPLE}")
    changes = {key: _value(text) for key, _, text in (one.partition("=") for one in given)}
    own = {**method.train.keywords, "changes": {**method.train.keywords["changes"], **changes}}
    summary = f"{method.summary}; {', '.join(given)}"
    return replace(
        method, name=name, summary=summary, train=partial(network, **own), by_name_only=True
    )


def _other_way(name: str) -> str:
    """Hint for what was mistaken for a method: a component, or settings without their table."""
    if "+" in name:
        return f"settings have dotted names, as in gimp{SETTING_EXAMPLE}"
    kinds = [one.kind for one in registry().components if one.name == name]
    for kind in filter(PARTS.__contains__, kinds):
        base = "gimp-none" if kind == "system" else "gimp"
        return f"a component takes part as {base}+model.{kind.replace('-', '_')}={name}"
    return ""


def settings_of(name: str) -> Mapping[str, Any]:
    """Changes of a method to the comparison's configuration, by dotted name."""
    train = method_of(name).train
    keywords = train.keywords if isinstance(train, partial) else {}
    return keywords.get("changes", {})


def is_network(name: str) -> bool:
    """Whether a method trains, or predicts with, a model of registered components."""
    train = method_of(name).train
    kind = train.func if isinstance(train, partial) else train
    return kind not in {logistic, late_fusion}


def _value(text: str) -> Any:
    """Parse a value as in a settings file; keep it as text if that fails."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """Find methods by name, including those that they need.

    Parameters
    ----------
    names
        Names as for `method_of`; `all` means all methods except those that take part by name only,
        `table1` and `table2` the rows of the paper's tables.

    Returns
    -------
    Names in the order of `METHODS`, each once, followed by methods with other settings.

    Raises
    ------
    ConfigError
        If a name is unknown, or none is given.

    Examples
    --------
    >>> chosen(["late-fusion", "gimp"])
    ('gimp', 'abmil', 'logistic-genes', 'late-fusion')
    """
    wanted: dict[str, None] = {}
    for name in names:
        if name == ALL:
            found = [one.name for one in METHODS.values() if not one.by_name_only]
        else:
            found = [*SETS[name]] if name in SETS else [name, *method_of(name).needs]
        wanted |= dict.fromkeys(found)
    if not wanted:
        hint = f"methods: {', '.join((ALL, *SETS, *METHODS))}"
        raise ConfigError("no method to run", hint=hint)
    return (
        *(name for name in METHODS if name in wanted),
        *(name for name in wanted if name not in METHODS),
    )


def reference_of(given: str, methods: tuple[str, ...]) -> str:
    """Choose the method that the others are tested against.

    Parameters
    ----------
    given
        What the user asked for; if empty, `gimp` if it takes part, else the first method.
    methods
        Methods that take part.

    Returns
    -------
    Name of the method.

    Raises
    ------
    ConfigError
        If the given method does not take part.
    """
    if given and given not in methods:
        problem = f"the reference {given!r} does not take part{did_you_mean(given, methods)}"
        raise ConfigError(problem, hint=f"taking part: {', '.join(methods)}")
    return given or (REFERENCE if REFERENCE in methods else methods[0])
