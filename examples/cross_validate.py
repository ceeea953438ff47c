#!/usr/bin/env python3
"""Cross-validate GiMP and its controls on a cohort of your own, with nothing but `gimp` commands.

    python examples/cross_validate.py genes.h5ad features/ study/ --fold-key fold

`obs` of the cohort holds the fold of each case. For each fold and arm the script prints the `gimp`
commands and runs them; what is finished is not done again. At the end it prints one row an arm:
accuracy with its Wilson interval, the AUC, computed per fold and averaged by size, with its
bootstrap interval over patients, and a paired test of each arm against the first.

The arms are the model with both halves from each of its three starts (pre-trained, gene
pre-training only, nothing), each half alone, a few random genes with and without slides, and two
controls that must fail: the test slides swapped between patients, and shuffled training labels.
The budget (dim, epochs, window) is the same for all arms.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np

from gimp_plugin.cli.main import cli
from gimp_plugin.evaluation import evaluate
from gimp_plugin.keys import SLIDES
from gimp_plugin.storage.atomic import whole_file
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.storage.tables import write_csv

SETTINGS = """\
[model]
dim = {dim}
n_heads = 4
n_landmarks = 32

[genes]
epochs = {epochs}

[pretrain]
epochs = {pretrain_epochs}
subsequence_length = 500
lr = 5e-4

[finetune]
epochs = {epochs}
lr = 5e-4
"""


@dataclass(frozen=True)
class Study:
    """One cohort, one folder of results, one budget."""

    adata: Path
    features: Path
    out: Path
    label_key: str
    fold_key: str
    seed: int

    def run(self, *arguments: object) -> None:
        """Print a `gimp` command and run it."""
        words = [str(argument) for argument in arguments]
        print("$ gimp", shlex.join(words), flush=True)
        code = cli.main(words, prog_name="gimp", standalone_mode=False)
        if code:
            sys.exit(code)

    def common(self, fold: object, adata: Path | None = None) -> list[object]:
        """Options of every training."""
        return [
            *("--adata", adata or self.adata, "--features", self.features),
            *("--splits", f"obs:{self.fold_key}", "--fold", fold, "--seed", self.seed),
            *("--config", self.out / "settings.toml"),
        ]


def finetuned(
    study: Study, fold: object, arm: str, *options: object, adata: Path | None = None
) -> Path:
    """Fine-tune one arm and predict the cohort; give the table of predictions."""
    adata = adata or study.adata
    run, table = study.out / f"runs/{fold}/{arm}", study.out / f"predictions/{arm}-{fold}.csv"
    label = () if "--label-key" in options else ("--label-key", study.label_key)
    study.run("finetune", *study.common(fold, adata), *label, *options, "-o", run)
    study.run("predict", "--adata", adata, "--model", run, "-o", table)
    return table


def pretrained(study: Study, fold: object) -> Path:
    """Fine-tune after masked patch modeling and triplets."""
    start = study.out / f"runs/{fold}/pretrain"
    study.run("pretrain", *study.common(fold), "--label-key", study.label_key, "-o", start)
    return finetuned(study, fold, "pretrained", "--from", start)


def few_genes(study: Study, *, n_genes: int) -> Path:
    """Write the cohort with a few random genes."""
    path = study.out / f"{n_genes}-genes.h5ad"
    cohort = anndata.read_h5ad(study.adata)
    chosen = np.random.default_rng(0).choice(cohort.n_vars, n_genes, replace=False)
    return written(cohort[:, chosen].copy(), path)


def swapped(study: Study, fold: object) -> Path:
    """Predict the test cases of the pre-trained arm with each other's slides."""
    obs = anndata.read_h5ad(study.adata, backed="r").obs
    test = [str(case) for case in obs.index[obs[study.fold_key].astype(str) == str(fold)]]
    shifted = np.roll(np.random.default_rng(study.seed).permutation(test), 1)
    order = np.random.default_rng(study.seed).permutation(test)
    new_case = dict(zip(order.tolist(), shifted.tolist(), strict=True))
    rows = [
        {"slide_id": bag.slide_id, "case_id": new_case.get(bag.slide_id, bag.slide_id)}
        for bag in list_bags(study.features)
    ]
    slide_table = study.out / f"swapped-{fold}.csv"
    write_csv(slide_table, rows, columns=["slide_id", "case_id"])
    table = study.out / f"predictions/swapped-{fold}.csv"
    run = study.out / f"runs/{fold}/pretrained"
    study.run(
        *("predict", "--adata", study.adata, "--model", run),
        *("--slide-table", slide_table, "-o", table),
    )
    return table


def shuffled(study: Study, fold: object) -> Path:
    """Train on shuffled labels; the test cases keep their own.

    Each true class gets the new labels in equal shares. A plain permutation agrees with the truth
    a little more or less than by half, and where the classes are the main difference between
    patients, a model takes that little for all there is.

    Returns
    -------
    Its table of predictions.
    """
    path = study.out / f"shuffled-{fold}.h5ad"
    cohort = anndata.read_h5ad(study.adata)
    labels = cohort.obs[study.label_key].astype(str).to_numpy(dtype=object)
    training = (cohort.obs[study.fold_key].astype(str) != str(fold)).to_numpy()
    rng = np.random.default_rng([study.seed, zlib.crc32(str(fold).encode())])
    new, classes = labels.copy(), sorted(set(labels))
    for name in classes:
        members = rng.permutation(np.flatnonzero(training & (labels == name)))
        new[members] = np.resize(classes, len(members))
    cohort.obs["shuffled"] = new
    options = ("--from", "genes", "--label-key", "shuffled")
    return finetuned(study, fold, "shuffled", *options, adata=written(cohort, path))


def written(cohort: anndata.AnnData, path: Path) -> Path:
    """Write a cohort, unless it stands there already."""
    if not path.exists():
        with whole_file(path) as temporary:
            cohort.write_h5ad(temporary)
    return path


def arms(study: Study, ten: Path) -> dict[str, Callable[[object], Path]]:
    """What is compared: name and how to get its predictions for a fold."""
    return {
        "slides + genes, pre-trained": lambda fold: pretrained(study, fold),
        "slides + genes, --from genes": lambda fold: finetuned(
            study, fold, "from-genes", "--from", "genes"
        ),
        "slides + genes, --from none": lambda fold: finetuned(
            study, fold, "from-none", "--from", "none"
        ),
        "genes only": lambda fold: finetuned(
            study, fold, "genes", "--from", "genes", "--modalities", "genes"
        ),
        "slides only": lambda fold: finetuned(
            study, fold, "slides", "--from", "none", "--modalities", SLIDES
        ),
        "10 genes": lambda fold: finetuned(
            study, fold, "ten", "--from", "genes", "--modalities", "genes", adata=ten
        ),
        "10 genes + slides": lambda fold: finetuned(
            study, fold, "ten-slides", "--from", "genes", adata=ten
        ),
        "control: test slides swapped": lambda fold: swapped(study, fold),
        "control: training labels shuffled": lambda fold: shuffled(study, fold),
    }


def main() -> None:
    """Run all arms over all folds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adata", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--label-key", default="label")
    parser.add_argument("--fold-key", default="fold")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "settings.toml").write_text(
        SETTINGS.format(dim=args.dim, epochs=args.epochs, pretrain_epochs=args.pretrain_epochs)
    )
    study = Study(args.adata, args.features, args.out, args.label_key, args.fold_key, args.seed)
    obs = anndata.read_h5ad(args.adata, backed="r").obs
    folds = sorted(obs[args.fold_key].unique())
    started = time.process_time()
    tables = {
        name: [predictions_of(fold) for fold in folds]
        for name, predictions_of in arms(study, few_genes(study, n_genes=10)).items()
    }
    print(f"\n{table_of(tables)}\n")
    print(f"The same for all arms: dim {args.dim}, 4 heads, 32 landmarks, windows of 500 patches,")
    print(
        f"{args.pretrain_epochs} epochs of pre-training and {args.epochs} of fine-tuning, one seed."
    )
    print(f"CPU hours of this call: {(time.process_time() - started) / 3600:.2f}")


def table_of(tables: dict[str, list[Path]]) -> str:
    """Write one row an arm: accuracy and AUC with their intervals, and the test of the AUC.

    p is that of a permutation test of the difference in AUC to the first arm, on the same
    patients, adjusted by Holm's method for all tests against that arm.

    Returns
    -------
    A table in Markdown.
    """
    names = list(tables)
    first = evaluate(tables[names[0]], others=[tables[name] for name in names[1:]])
    tests = dict(zip(names[1:], first.comparisons, strict=True))
    lines = ["| arm | n | accuracy (95 %) | AUC (95 %) | p, AUC |", "|---|---|---|---|---|"]
    for name, paths in tables.items():
        found = evaluate(paths)
        p_value = f"{tests[name].auc_p_holm:.3f}" if name in tests else ""
        scores = f"{found.metrics['accuracy']} | {found.metrics['auc']}"
        lines.append(f"| {name} | {found.n_cases} | {scores} | {p_value} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
