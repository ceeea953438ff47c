#!/usr/bin/env python3
"""Choose settings on your own cohort without evaluating them on the cases of the final test.

    python examples/choose_settings.py genes.h5ad features/ choice/ candidates.toml --folds 1 2 3

`obs` of the cohort holds the fold of each case. Settings are compared on the named folds: for each
of these, models are trained without this fold and without the next named fold, and predict the
next one; the fold itself is not used. A fifth of the training cases chooses the epoch. Keep the
folds that are not named for the final test: they are never predicted here, though their cases are
in every training.

The file of candidates has one table per setting, of dotted names as `gimp config` prints them:

    [base]                 # changes the preset, for all candidates
    "model.dim" = 128
    [candidates.raw]
    "model.feature_norm" = "none"

Each candidate is trained with the method `gimp-genes` of `gimp benchmark` (or --method), in every
regime of --regimes, and predicts from both halves and from each half alone. The resulting table is
sorted by the mean log loss over all of these. An interrupted call can be repeated to continue; new
candidates are added to the existing results.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from gimp_plugin import keys
from gimp_plugin.cohort.splitting.draws import draw_share
from gimp_plugin.cohort.splitting.splits import Splits, splits_text
from gimp_plugin.config import CohortSource, GimpConfig, Runtime, load_preset
from gimp_plugin.data.study import prepare
from gimp_plugin.evaluation import evaluate
from gimp_plugin.prediction import predict
from gimp_plugin.storage.atomic import write_text
from gimp_plugin.studies.benchmark import Protocol, run_benchmark

HALVES = (keys.BOTH, keys.SLIDES, keys.GENES)
VAL_SHARE = 0.2


def main() -> None:
    """Train all candidates, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adata", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("--label-key", default="label")
    parser.add_argument("--fold-key", default="fold")
    parser.add_argument("--folds", nargs="+", required=True)
    parser.add_argument("--regimes", nargs="+", default=["genes:10", "full"])
    parser.add_argument("--method", default="gimp-genes")
    parser.add_argument("--preset", default="recommended")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    source = CohortSource(adata=args.adata, features=args.features, label_key=args.label_key)
    splits = args.out / "splits.csv"
    write_text(splits, splits_text(inner_folds(source, args.fold_key, args.folds)))
    source = replace(source, splits=str(splits))
    started = time.process_time()
    rows = []
    for name, config in settings_of(args.candidates, preset=args.preset):
        for regime in args.regimes:
            folder = args.out / regime.replace(":", "-") / name
            tables = trained(source, config, folder, args=args, regime=regime)
            rows += [(name, regime, halves, tables[halves]) for halves in tables]
    print(table_of(rows))
    print(f"\nCPU hours of this call: {(time.process_time() - started) / 3600:.2f}")


def inner_folds(source: CohortSource, fold_key: str, folds: Sequence[str]) -> Iterator[Splits]:
    """Inner splits, one per named fold: without this fold, tested on the next named fold."""
    study = prepare(source)
    fold_of = study.obs.loc[list(study.case_ids), fold_key].astype(str)
    for number, own in enumerate(folds):
        judging = folds[(number + 1) % len(folds)]
        learning = {
            case_id: study.labels[case_id]
            for case_id in study.case_ids
            if fold_of[case_id] not in (own, judging)
        }
        val = draw_share(learning, share=VAL_SHARE, seed=0)
        parts = {case_id: keys.VAL if case_id in val else keys.TRAIN for case_id in learning}
        judges = [case_id for case_id in study.case_ids if fold_of[case_id] == judging]
        parts |= dict.fromkeys(judges, keys.TEST)
        yield Splits(parts=parts, source=f"{fold_key} {own}", fold=own)


def settings_of(path: Path, *, preset: str) -> Iterator[tuple[str, GimpConfig]]:
    """Each candidate with its configuration."""
    tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    base = load_preset(preset).replace(tables.get("base", {}))
    for name, changes in tables["candidates"].items():
        yield name, base.replace(changes)


def trained(
    source: CohortSource, config: GimpConfig, folder: Path, *, args: Any, regime: str
) -> dict[str, list[Path]]:
    """Train one candidate on all folds; return its tables of predictions, by halves."""
    protocol = Protocol(methods=(args.method,), n_seeds=args.seeds, regime=regime)
    run_benchmark(source, config, protocol, output=folder, runtime=Runtime())
    few = folder / "genes.h5ad"
    own = replace(source, adata=few if few.exists() else source.adata, splits=None)
    tables: dict[str, list[Path]] = {halves: [] for halves in HALVES}
    for run in sorted(folder.glob(f"cells/{args.method}/*/finetune")):
        tables[keys.BOTH].append(run.parent / "predictions.csv")
        for halves in (keys.SLIDES, keys.GENES):
            table = run.parent / f"{halves}.csv"
            predict(run, own, output=table, runtime=Runtime(), modalities=halves)
            tables[halves].append(table)
    return tables


def table_of(rows: Sequence[tuple[str, str, str, list[Path]]]) -> str:
    """Make a Markdown table, one row per candidate, the best mean log loss first."""
    shown: dict[str, list[Any]] = {}
    columns = list(dict.fromkeys(f"{regime}, {halves}" for _, regime, halves, _ in rows))
    for name, *_, tables in rows:
        shown.setdefault(name, []).append(evaluate(tables).metrics)
    lines = [
        "| setting | log loss | " + " | ".join(columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    scored = {name: mean(one["log_loss"].value for one in found) for name, found in shown.items()}
    for name in sorted(scored, key=lambda name: scored[name]):
        cells = " | ".join(
            f"{one['accuracy'].value:.3f} / {one['auc'].value:.3f} / {one['log_loss'].value:.3f}"
            for one in shown[name]
        )
        lines.append(f"| {name} | {scored[name]:.4f} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
