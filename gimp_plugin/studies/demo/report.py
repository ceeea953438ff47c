"""Texts that the demonstration shows at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gimp_plugin.evaluation import Evaluation
from gimp_plugin.evaluation.text import number, p_value, table
from gimp_plugin.studies.demo.cohort import SIMULATED

PLACES = {
    "slides/": "the slides (open one with OpenSlide or QuPath)",
    "genes.h5ad": "expression and labels (open it with scanpy)",
    "splits.csv": "which cases train, validate and test",
    "features/": "a bag of patch features for each slide",
    "runs/": "pre-trained and fine-tuned runs of each arm, with a model card each",
    "predictions/": "a table of predictions for each arm",
    "evaluation.md": "the table above",
}
NOTES = """\
95 % intervals over patients: Wilson for accuracy, stratified bootstrap for AUC.
AUC lost: against slides + genes; p by swapping probabilities within patients, adjusted (Holm).
Simulation and budget were set while looking at the test cases of seed 0.
The shuffled labels are the one of 500 draws that agrees least with the cause of the classes."""
COMMANDS = """\
    gimp extract-features slides/                 # writes features/
    gimp pretrain --adata genes.h5ad              # reads features/, writes runs/pretrain/
    gimp finetune --adata genes.h5ad              # reads runs/pretrain/, writes runs/finetune/
    gimp predict  --adata genes.h5ad              # reads runs/finetune/, writes predictions.csv
    gimp evaluate                                 # reads predictions.csv"""


def as_markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """Give the evaluation table, one row per arm.

    Parameters
    ----------
    evaluations
        Evaluations by name of the arm; the first was compared with the others, in their order.

    Returns
    -------
    A table in Markdown with a note before and after.
    """
    header = ["arm", "test cases", "accuracy (95 %)", "AUC (95 %)", "AUC lost", "p"]
    rows = zip(evaluations.items(), (("", ""), *_losses(evaluations)), strict=True)
    cells = (
        [name, str(one.n_cases), str(one.metrics["accuracy"]), str(one.metrics["auc"]), *loss]
        for (name, one), loss in rows
    )
    return f"{SIMULATED}\n\n{table(header, cells)}\n\n{NOTES}\n"


def closing(folder: Path, *, outcome: str, seconds: float) -> str:
    """Say where the files are and what to do next.

    Parameters
    ----------
    folder
        Folder of the demonstration.
    outcome
        `done` or `nothing to do`.
    seconds
        Time that it took.

    Returns
    -------
    Several lines of text.
    """
    width = max(map(len, PLACES))
    places = "\n".join(f"    {name.ljust(width)}  {text}" for name, text in PLACES.items())
    return (
        f"Everything is in {folder} ({outcome}, {seconds:.0f} s):\n\n{places}\n\n"
        "On your own slides and genes (matched by name, by a column slide_id of obs, or by "
        f"--slide-table):\n\n{COMMANDS}\n"
    )


def _losses(evaluations: Mapping[str, Evaluation]) -> Iterator[tuple[str, str]]:
    """AUC of the first arm minus that of each other arm, with the adjusted p."""
    first = next(iter(evaluations.values()))
    for one in first.comparisons:
        yield number(one.auc_difference), p_value(one.auc_p_holm)
