"""One cell of a comparison, as a method receives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.data.study import Study
from gimp_plugin.errors import CheckpointError
from gimp_plugin.storage.predictions import SYSTEM, write_predictions
from gimp_plugin.studies.benchmark.folder import PREDICTIONS, Cost, Place, cost_of
from gimp_plugin.studies.benchmark.inputs import Inputs

Train = Callable[["Cell"], Cost]
"""Trains on the cell's training cases and writes the cell's table of predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Inputs of a method, and where it writes.

    Parameters
    ----------
    place
        Method, fold and seed.
    output
        Folder of the comparison.
    identity
        What the comparison is made from.
    inputs
        Cases, genes and folds.
    config
        Settings of the model and the training.
    runtime
        Device and precision; the seed is the cell's.
    epochs
        Total over all stages of a network; None leaves them to the configuration.
    """

    place: Place
    output: Path
    identity: Mapping[str, Any]
    inputs: Inputs
    config: GimpConfig
    runtime: Runtime
    epochs: int | None = None

    @property
    def folder(self) -> Path:
        """Folder of the cell; everything in it belongs to the method."""
        return self.place.within(self.output)

    @property
    def predictions(self) -> Path:
        """Table to write."""
        return self.folder / PREDICTIONS

    @property
    def source(self) -> CohortSource:
        """Where the cases are, with the splits of the fold."""
        return self.inputs.source_of(self.place.fold)

    @property
    def study(self) -> Study:
        """The cases, with the labels that a method may see on this fold."""
        return self.inputs.study_of(self.place.fold)

    @property
    def splits(self) -> Splits:
        """Part of each case."""
        return self.inputs.fold(self.place.fold)

    def rows_of(self, part: str) -> NDArray[np.int64]:
        """Indices of the cases of a part among the cases of the study."""
        parts = self.splits.parts
        found = [parts.get(case_id) == part for case_id in self.inputs.study.case_ids]
        return np.flatnonzero(found)

    def beside(self, method: str) -> tuple[Path, Cost]:
        """Give the folder and cost of another method on the same fold and seed.

        Parameters
        ----------
        method
            Name of a method that this one needs.

        Returns
        -------
        Folder of its results, and their cost.

        Raises
        ------
        CheckpointError
            If that method is not done.
        """
        place = replace(self.place, method=method)
        cost = cost_of(place.within(self.output), place, self.identity)
        if cost is None:
            raise CheckpointError(f"it needs the predictions of {place}, which failed")
        return place.within(self.output), cost

    def write(self, probabilities: NDArray[np.float64], *, modalities: str) -> None:
        """Write the table of predictions, and record next to it that this method made it.

        Parameters
        ----------
        probabilities
            Probabilities of every case of the study, shape (case, class); cases without a part are
            left out.
        modalities
            Halves that the predictions were made from.
        """
        study, classes, parts = self.study, self.inputs.classes, self.splits.parts
        rows = [
            {
                keys.CASE_ID: case.case_id,
                "split": parts[case.case_id],
                "predicted": classes[int(own.argmax())],
                **{f"prob_{name}": float(p) for name, p in zip(classes, own, strict=True)},
                "modalities": modalities,
                "n_slides": len(case.bags) if "slides" in modalities else 0,
                "n_patches": case.n_patches if "slides" in modalities else 0,
                "gene_coverage": 1.0 if "genes" in modalities else None,
                "label": study.labels[case.case_id],
            }
            for case, own in zip(study.cases, probabilities, strict=True)
            if case.case_id in parts
        ]
        made_by = {SYSTEM: {"kind": self.place.method}}
        write_predictions(self.predictions, rows, classes=classes, noted=made_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to classify the patients.

    Parameters
    ----------
    name
        Name that users type, also used for its folder.
    summary
        One-line description.
    train
        Function that does one cell.
    needs
        Methods that must be done first, on the same fold and seed.
    by_name_only
        Whether it takes part only if its name is given, like the controls.
    """

    name: str
    summary: str
    train: Train
    needs: tuple[str, ...] = ()
    by_name_only: bool = False
