"""Turn what the user asked for into the cells of a comparison, checked before any work begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gimp_plugin
from gimp_plugin import keys
from gimp_plugin.assembly.build import components_of, of_plugins
from gimp_plugin.assembly.device import precision_of
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.errors import SplitError, did_you_mean, listed
from gimp_plugin.plugins import split_name
from gimp_plugin.storage.atomic import sha256_file, sha256_json
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.folder import FORMAT, FORMAT_VERSION, PLUGINS, Place
from gimp_plugin.studies.benchmark.inputs import Inputs, look, write
from gimp_plugin.studies.benchmark.methods import chosen, is_network, reference_of, settings_of
from gimp_plugin.studies.benchmark.printed import SETS
from gimp_plugin.studies.benchmark.protocol import Protocol, Regime
from gimp_plugin.training.plan import without_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A comparison that is checked and ready to start.

    Parameters
    ----------
    inputs
        Inputs of the methods.
    regime
        What the methods may learn from.
    config, runtime
        What the user asked for.
    identity
        Everything except its place that determines the bytes of a cell; plugins by method.
    places
        The cells, in the order in which they run.
    reference
        Method that the others are tested against.
    sets
        Tables of the paper that were asked for.
    epochs
        As in `Protocol`.
    """

    inputs: Inputs
    regime: Regime
    config: GimpConfig
    runtime: Runtime
    identity: Mapping[str, Any]
    places: tuple[Place, ...]
    reference: str
    sets: tuple[str, ...] = ()
    epochs: int | None = None


def designed(
    source: CohortSource, config: GimpConfig, protocol: Protocol, *, runtime: Runtime
) -> Design:
    """Read the inputs and list the cells; nothing is written.

    Parameters
    ----------
    source, config, protocol, runtime
        As for `run_benchmark`.

    Returns
    -------
    The design. Cells are ordered by seed, then fold, then method, so that tables can be made early.

    Raises
    ------
    ConfigError
        If a method or component is unknown.
    SplitError
        If there is no such fold.
    GimpError
        If the inputs are not valid.
    """
    methods = chosen(protocol.methods)
    reference = reference_of(protocol.reference, methods)
    own = {"model.modalities": keys.BOTH, "model.system": ""}  # each method has its own
    config = config.replace(own)
    regime = Regime.parse(protocol.regime)
    plugins = {}
    for name in methods:  # refuses an unknown name before any work
        components = components_of(config.replace(settings_of(name)).model)
        plugins[name] = of_plugins(components) if is_network(name) else {}
    inputs = look(source, regime, seed=runtime.seed)
    places = tuple(
        Place(method, fold, seed)
        for seed in range(runtime.seed, runtime.seed + protocol.n_seeds)
        for fold in _folds(inputs, protocol.folds)
        for method in methods
    )
    return Design(
        inputs=inputs,
        regime=regime,
        config=config,
        runtime=runtime,
        identity={**_identity(inputs, config, protocol, runtime), PLUGINS: plugins},
        places=places,
        reference=reference,
        sets=tuple(name for name in SETS if name in protocol.methods),
        epochs=protocol.epochs,
    )


def cells_of(design: Design, places: Iterable[Place], *, output: Path) -> list[Cell]:
    """Give some cells of a design, after writing their inputs.

    Parameters
    ----------
    design
        The comparison.
    places
        The cells to give.
    output
        Folder of the comparison, already claimed.

    Returns
    -------
    The cells, in the same order; they share their inputs.
    """
    inputs = write(design.inputs, output, regime=design.regime)
    return [
        Cell(
            place=place,
            output=output,
            identity=design.identity,
            inputs=inputs,
            config=design.config,
            # Any files in a cell that is not done are ours.
            runtime=replace(design.runtime, seed=place.seed, overwrite=True),
            epochs=design.epochs,
        )
        for place in places
    ]


def _folds(inputs: Inputs, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the folds to run, in the order of the splits."""
    known = tuple(one.fold for one in inputs.folds)
    for name in wanted:
        if name not in known:
            problem = f"there is no fold {name!r}{did_you_mean(name, known)}"
            raise SplitError(problem, hint=f"the splits have {listed(known, limit=20)}")
    return tuple(name for name in known if name in wanted or not wanted)


def _identity(
    inputs: Inputs, config: GimpConfig, protocol: Protocol, runtime: Runtime
) -> dict[str, Any]:
    """Everything except its place that determines the bytes of a cell."""
    folds = [[one.fold, sorted(one.parts.items())] for one in inputs.folds]
    _, argument = split_name(config.model.gene_grouping)
    grouping = sha256_file(Path(argument)) if Path(argument).is_file() else ""
    return {
        keys.FORMAT: FORMAT,
        keys.FORMAT_VERSION: FORMAT_VERSION,
        "version": gimp_plugin.__version__,
        "config": without_folder(config).to_dict(),
        "regime": str(Regime.parse(protocol.regime)),
        **({"epochs": protocol.epochs} if protocol.epochs else {}),
        "seed": runtime.seed,
        "precision": precision_of(runtime),
        "inputs": {
            **inputs.study.fingerprint(),
            "splits": sha256_json(folds),
            "grouping": grouping,
            **({"hidden": sha256_json(dict(inputs.hidden))} if inputs.hidden else {}),
        },
    }
