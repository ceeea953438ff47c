#!/usr/bin/env python3
"""Cross-validate GiMP and its controls on a cohort of your own, by two calls of `gimp benchmark`.

    python examples/cross_validate.py genes.h5ad features/ study/ --fold-key fold

`obs` of the cohort holds the fold of each case. The script prints the commands and runs them; what
is finished is not done again. At the end it prints one row an arm: accuracy with its Wilson
interval, the AUC, computed per fold and averaged by size, with its bootstrap interval over
patients, and a paired test of each arm against the first.

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
from collections.abc import Mapping
from pathlib import Path

from gimp_plugin.cli.main import cli
from gimp_plugin.evaluation import evaluate

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

ARMS = {
    "slides + genes, pre-trained": ("full", "gimp"),
    "slides + genes, --from genes": ("full", "gimp-genes"),
    "slides + genes, --from none": ("full", "gimp-none"),
    "genes only": ("full", "gimp-gene-half"),
    "slides only": ("full", "gimp-slides-none"),
    "10 genes": ("genes:10", "gimp-gene-half"),
    "10 genes + slides": ("genes:10", "gimp-genes"),
    "control: test slides swapped": ("full", "swapped"),
    "control: training labels shuffled": ("full", "gimp-shuffled"),
}
"""Each arm by the regime and the method of `gimp benchmark`."""


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
    settings = args.out / "settings.toml"
    settings.write_text(
        SETTINGS.format(dim=args.dim, epochs=args.epochs, pretrain_epochs=args.pretrain_epochs)
    )
    started = time.process_time()
    for regime in dict.fromkeys(regime for regime, _ in ARMS.values()):
        methods = [method for other, method in ARMS.values() if other == regime]
        gimp(
            *("benchmark", "--adata", args.adata, "--features", args.features),
            *("--label-key", args.label_key, "--splits", f"obs:{args.fold_key}"),
            *("--methods", ",".join(methods), "--regime", regime, "--seed", args.seed),
            *("--config", settings, "-o", folder(args.out, regime)),
        )
    tables = {
        arm: sorted(folder(args.out, regime).glob(f"cells/{method}/*/predictions.csv"))
        for arm, (regime, method) in ARMS.items()
    }
    print(f"\n{table_of(tables)}\n")
    print(f"The same for all arms: dim {args.dim}, 4 heads, 32 landmarks, windows of 500 patches,")
    print(
        f"{args.pretrain_epochs} epochs of pre-training and {args.epochs} of fine-tuning, one seed."
    )
    print(f"CPU hours of this call: {(time.process_time() - started) / 3600:.2f}")


def gimp(*arguments: object) -> None:
    """Print a `gimp` command and run it."""
    words = [str(argument) for argument in arguments]
    print("$ gimp", shlex.join(words), flush=True)
    code = cli.main(words, prog_name="gimp", standalone_mode=False)
    if code:
        sys.exit(code)


def folder(out: Path, regime: str) -> Path:
    """Where the comparison of a regime goes."""
    return out / regime.replace(":", "-")


def table_of(tables: Mapping[str, list[Path]]) -> str:
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
