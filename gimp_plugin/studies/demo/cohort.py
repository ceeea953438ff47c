"""The demonstration cohort: its patients and their files.

Tissue and genes each hold half of the information about the class: a patient's class is decided by
the sum of two independent numbers and some noise. One number sets the share of stroma in the slide,
the other the activity of some genes. Knowing one of them exactly gives an AUC of about .82, knowing
both about .98.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from tqdm import tqdm

from gimp_plugin import keys
from gimp_plugin.cohort.splitting.splits import Splits, write_splits
from gimp_plugin.errors import StaleOutputError, listed
from gimp_plugin.storage.atomic import clean_partials, sha256_json, whole_file, write_json
from gimp_plugin.studies.demo.genes import SCALE, draw_expression, gene_names
from gimp_plugin.studies.demo.svs import write_svs
from gimp_plugin.studies.demo.tissue import draw_slide, h_and_e_picture

logger = logging.getLogger(__name__)

CLASSES = ("quiet", "restless")
SHUFFLED = "label_shuffled"
LABEL_NOISE = 0.4
STROMA_MEAN, STROMA_STEP, STROMA_RANGE = 0.5, 0.28, (0.02, 0.98)
PARTS = (keys.TRAIN, keys.TEST, keys.TRAIN, keys.VAL, keys.TRAIN, keys.TEST)
"""Parts that are assigned in turn to the patients of a class."""

N_SHUFFLES = 500

SIMULATED = (
    "A demonstration, not a finding: the slides are mosaics of one real H&E picture, patients, "
    "classes and gene expression are simulated."
)
STAMP = "demo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patients:
    """The patients, before any file of them is written.

    Parameters
    ----------
    case_ids
        Names of the patients and of their slides.
    stroma_shares
        Share of stroma in each slide.
    activities
        Activity that some genes of each patient follow.
    labels
        Class of each patient.
    parts
        Split of each patient.
    shuffled
        Labels of the control: in train and val half of each class has the other label; in test
        labels are true.
    """

    case_ids: tuple[str, ...]
    stroma_shares: NDArray[np.float64]
    activities: NDArray[np.float64]
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    shuffled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Paths of the demonstration cohort.

    Parameters
    ----------
    folder
        Folder of all files.
    """

    folder: Path

    @property
    def slides(self) -> Path:
        """Folder of the slides."""
        return self.folder / "slides"

    @property
    def adata(self) -> Path:
        """File with expression and labels."""
        return self.folder / "genes.h5ad"

    @property
    def splits(self) -> Path:
        """File with the part of each patient."""
        return self.folder / "splits.csv"


def draw_patients(n_cases: int, *, seed: int) -> Patients:
    """Draw patients, half of them of each class.

    The numbers that decide the classes are quantiles in random order, and parts are assigned in
    turn to patients sorted by the tissue number minus the gene number, so that even a small cohort
    resembles a large one.

    Parameters
    ----------
    n_cases
        Number of patients; with 12 or more, each part has patients of each class.
    seed
        Seed of the draw.

    Returns
    -------
    The patients.
    """
    rng = np.random.default_rng(seed)
    quantiles = norm.ppf((np.arange(n_cases) + 0.5) / n_cases)
    tissue, activity, noise = (rng.permutation(quantiles) for _ in range(3))
    order = np.argsort(tissue + activity + LABEL_NOISE * noise)
    label = np.zeros(n_cases, int)
    label[order[n_cases // 2 :]] = 1
    part = np.empty(n_cases, object)
    for place in (0, 1):
        members = np.flatnonzero(label == place)
        members = members[np.argsort((tissue - activity)[members])]
        part[members] = [PARTS[turn % len(PARTS)] for turn in range(members.size)]
    shuffled = _shuffled(label, part, np.stack([tissue, activity]), rng)
    return Patients(
        case_ids=tuple(f"DEMO-{number:03d}" for number in range(1, n_cases + 1)),
        stroma_shares=np.clip(STROMA_MEAN + STROMA_STEP * tissue, *STROMA_RANGE),
        activities=activity,
        labels=tuple(CLASSES[place] for place in label),
        parts=tuple(part),
        shuffled=tuple(CLASSES[place] for place in shuffled),
    )


def _shuffled(
    label: NDArray[np.int64],
    part: NDArray[np.object_],
    causes: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw labels of which half of each class is wrong in train and val, and none in test.

    Of many shuffles, this takes the one that agrees least with the numbers behind the classes: with
    so few patients, most shuffles agree with them by chance, which would spoil the control.

    Returns
    -------
    Class indices.
    """
    best, least = label, np.inf
    for _ in range(N_SHUFFLES):
        drawn = label.copy()
        agreement = 0.0
        for name in (keys.TRAIN, keys.VAL):
            for place in (0, 1):
                members = rng.permutation(np.flatnonzero((part == name) & (label == place)))
                drawn[members[::2]] = 1 - place
            within = part == name
            signs = 2 * drawn[within] - 1
            agreement += float(np.abs(causes[:, within] @ signs).sum()) / within.sum()
        if agreement < least:
            best, least = drawn, agreement
    return best


def write_cohort(folder: Path, *, n_cases: int, seed: int) -> DemoFiles:
    """Write slides, genes, labels and splits; existing files are kept.

    Parameters
    ----------
    folder
        Folder of all files.
    n_cases
        Number of patients.
    seed
        Seed of everything that is drawn.

    Returns
    -------
    Paths of the files.

    Raises
    ------
    StaleOutputError
        If the folder holds something else.
    """
    files = DemoFiles(folder)
    patients = draw_patients(n_cases, seed=seed)
    picture = h_and_e_picture()
    made_from = {
        "n_cases": n_cases,
        "seed": seed,
        "picture_sha256": sha256_json(picture[::10].tolist()),
        "simulated": SIMULATED,
    }
    _claim(folder, made_from)
    wanted = {case_id: files.slides / f"{case_id}.svs" for case_id in patients.case_ids}
    lacking = [place for place, path in enumerate(wanted.values()) if not path.exists()]
    for place in tqdm(lacking, desc="slides", unit="slide", disable=None):
        rng = np.random.default_rng([seed, place])
        slide = draw_slide(picture, stroma_share=float(patients.stroma_shares[place]), rng=rng)
        write_svs(wanted[patients.case_ids[place]], slide)
    if not files.adata.exists():
        _write_genes(files.adata, patients, seed=seed)
    if not files.splits.exists():
        parts = dict(zip(patients.case_ids, patients.parts, strict=True))
        write_splits(files.splits, Splits(parts=parts, source="demonstration"))
    logger.info("%d slides written, %d already there", len(lacking), n_cases - len(lacking))
    return files


def _claim(folder: Path, made_from: dict[str, Any]) -> None:
    """Claim a folder for the demonstration, unless it already holds it; refuse any other."""
    stamp = folder / STAMP
    found = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else None
    if found == made_from:
        for path in (folder, folder / "slides"):
            clean_partials(path)
        return
    hint = "choose another folder"
    if found is not None:
        raise StaleOutputError(f"{str(folder)!r} holds a different demonstration", hint=hint)
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if others:
        raise StaleOutputError(f"{str(folder)!r} holds other files: {listed(others)}", hint=hint)
    write_json(stamp, made_from)


def _write_genes(path: Path, patients: Patients, *, seed: int) -> None:
    """Write expression and labels as AnnData."""
    import anndata  # takes seconds
    import pandas as pd

    values = draw_expression(patients.activities, rng=np.random.default_rng([seed, 1 << 20]))
    columns = {keys.LABEL: patients.labels, SHUFFLED: patients.shuffled}
    index = pd.Index(patients.case_ids, dtype=object)
    adata = anndata.AnnData(
        values,
        obs=pd.DataFrame(columns, index=index, dtype=object),
        var=pd.DataFrame(index=pd.Index(gene_names(), dtype=object)),
        uns={keys.UNS: {keys.SCALE: SCALE}, "note": SIMULATED},
    )
    with whole_file(path) as temporary:
        adata.write_h5ad(temporary)
