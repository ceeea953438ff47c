"""Compare starting points of integrated gradients, on cohorts with planted signals.

    python tests/benchmarks/explain_baselines.py
    python tests/benchmarks/explain_baselines.py --seeds 3 --genes 300 --cases 120

A synthetic cohort is made for each seed: a third of the genes follow the class, with a mean and a
spread that differ from gene to gene, and the second class has more of the second of two kinds of
patches. A small run is trained on it, and its test cases are explained toward the predicted class
from each baseline. For genes:

    mean      the mean of the training cases, 0 after standardisation: --gene-reference mean
    other     the mean of the training cases of the other class: what gimp explain does
    nothing   no expression at all
    expected  8 training cases, one by one, averaged (expected gradients)

For patches:

    case      the mean patch of the case: what gimp explain does
    cohort    the mean patch of the training cases
    zero      a token of zeros

Printed for each baseline, as means over the seeds with the standard deviation:

- for genes, precision at k: the share of planted genes among the k genes with the largest values,
  where k is the number of planted genes (by chance a third). Genes are ranked over the cases by the
  mean size of the attribution, by the size of its mean, and by the latter divided by the standard
  deviation;
- for patches, the share of the k patches of a slide with the highest values that speak for the
  class;
- the completeness error as a share of the explained evidence, and by how much more deletion and
  insertion change the evidence than in random order, in nats.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from einops import repeat

from gimp_plugin.config import CohortSource, ExplainConfig, Runtime
from gimp_plugin.explain.evidence import integrated
from gimp_plugin.explain.faithfulness import areas, evidence_of
from gimp_plugin.explain.genes import evidence_of_genes, score_of_genes
from gimp_plugin.storage.bags import read_features, read_info
from gimp_plugin.studies.explanation.halves import Halves
from gimp_plugin.studies.explanation.inputs import read_inputs
from gimp_plugin.training import finetune

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.study_factory import (
    FEATURE_DIM,
    make_study,
    tiny_config,
)  # found through sys.path

CPU = torch.device("cpu")
N_STEPS, N_EXPECTED = 32, 8


def main() -> None:
    """Explain each cohort from each baseline, and print the means."""
    asked = parsed()
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for key, numbers in of_cohort(Path(folder), seed, asked).items():
                found[key].append(numbers)
    for (half, baseline), rows in found.items():
        told = "  ".join(
            f"{name} {np.mean([row[name] for row in rows]):.3f} "
            f"({np.std([row[name] for row in rows]):.3f})"
            for name in rows[0]
        )
        sys.stdout.write(f"{half:<8}{baseline:<9} {told}\n")


def of_cohort(folder: Path, seed: int, asked: argparse.Namespace) -> dict:
    """Train a run on a cohort, and try each baseline on its test cases."""
    source = made(folder, seed, asked)
    config = tiny_config(finetune__epochs=asked.epochs, genes__epochs=asked.epochs)
    finetune(source, config, start="none", output=folder / "run", runtime=Runtime(device="cpu"))
    inputs = read_inputs([folder / "run"], source, config=ExplainConfig(), device=CPU)
    model = inputs.main
    train = [case for case in inputs.cases if inputs.parts[case.case_id] == "train"]
    tested = [case for case in inputs.cases if inputs.parts[case.case_id] == "test"]
    labels = inputs.study.labels
    genes = {case.case_id: model.genes_of(case) for case in inputs.cases}
    values = torch.stack([genes[case.case_id] for case in train])
    by_class = {
        name: values[[labels[case.case_id] == name for case in train]].mean(dim=0)
        for name in inputs.classes
    }
    mean, std = (np.array([float(row[key]) for row in model.gene_rows]) for key in ("mean", "std"))
    nothing = torch.from_numpy(np.clip(-mean / std, -10, 10).astype(np.float32))
    cohort = torch.stack([Halves.of(model, case, CPU).tokens.mean(dim=0) for case in train])
    n_planted = max(1, asked.genes // 3)
    sums: dict[tuple[str, str], list] = defaultdict(list)
    sizes: dict[str, list] = defaultdict(list)
    rng = np.random.default_rng(seed)
    for case in tested:
        halves = Halves.of(model, case, CPU)
        evidence = halves.evidence(model)
        target = int(evidence.of_rows(np.arange(evidence.n_patches)).argmax())
        row = genes[case.case_id]
        other = by_class[inputs.classes[1 - target]]
        some = values[rng.choice(len(values), N_EXPECTED, replace=False)]
        score = score_of_genes(model.module, halves.cls_img, temperature=model.record.temperature)
        kept = evidence_of_genes(
            model.module, row, halves.cls_img, target, temperature=model.record.temperature
        )
        starts = {"mean": torch.zeros(1, len(row)), "other": other[None]}
        starts |= {"nothing": nothing[None], "expected": some}
        for name, baselines in starts.items():
            steps = max(1, N_STEPS // len(baselines))
            parts = [
                integrated(score, row[None], one[None], target=target, n_steps=steps, at_a_time=8)
                for one in baselines
            ]
            own = torch.stack(parts).mean(dim=0).numpy()
            with torch.no_grad():
                whole = float(score(row[None])[0, target] - score(baselines)[:, target].mean())
            sizes[name].append(own)
            measured = areas(kept, {"x": own}, np.arange(len(own)), rng=np.random.default_rng(0))
            sums["genes", name].append((own.sum() - whole, whole, *measured.values()))
        for name, numbers in of_patches(evidence, target, case, inputs, cohort.mean(dim=0)):
            sums["patches", name].append(numbers)
    return {key: summed(key, rows, sizes, n_planted) for key, rows in sums.items()}


def of_patches(evidence, target, case, inputs, cohort):
    """Results of each baseline of the patches of a case."""
    tokens = evidence.tokens[None]
    features = read_features(read_info(case.bags[0].path)).astype(float)
    kinds = features @ np.linspace(1, -1, FEATURE_DIM) > 0  # the second kind
    wanted = kinds if target == 1 else ~kinds
    starts = {"case": evidence.tokens.mean(dim=0), "cohort": cohort}
    starts["zero"] = torch.zeros_like(cohort)
    for name, start in starts.items():
        bag = repeat(start, "d -> 1 n d", n=evidence.n_patches)
        score = evidence.of_tokens(evidence.sizes)
        own = integrated(score, tokens, bag, target=target, n_steps=N_STEPS).sum(dim=-1).numpy()
        with torch.no_grad():
            whole = float(score(tokens)[0, target] - score(bag)[0, target])
        k = int(wanted.sum())
        precision = wanted[np.argsort(-own)[:k]].mean() if 0 < k < len(wanted) else np.nan
        rows = np.arange(len(own))
        measured = areas(
            evidence_of(evidence, target), {"x": own}, rows, rng=np.random.default_rng(0)
        )
        yield name, (own.sum() - whole, whole, *measured.values(), precision)


def summed(key, rows, sizes, n_planted) -> dict[str, float]:
    """Means over the cases of a cohort."""
    half, name = key
    table = np.array(rows)
    if half == "genes":
        own = np.array(sizes[name])
        mean = np.abs(own.mean(axis=0))
        ranked = {"size": np.abs(own).mean(axis=0), "mean": mean, "t": mean / own.std(axis=0)}
        precision = {
            f"precision by {how}": float((np.argsort(-by)[:n_planted] < n_planted).mean())
            for how, by in ranked.items()
        }
    else:
        precision = {"precision": float(np.nanmean(table[:, 4]))}
    return {
        **precision,
        "error": float(np.abs(table[:, 0]).mean() / np.abs(table[:, 1]).mean()),
        "explained": float(np.abs(table[:, 1]).mean()),
        "deletion": float(table[:, 2].mean()),
        "insertion": float(table[:, 3].mean()),
    }


def made(folder: Path, seed: int, asked: argparse.Namespace) -> CohortSource:
    """Make a cohort whose genes differ in their mean and their spread."""
    import anndata

    source = make_study(
        folder,
        n_cases=asked.cases,
        n_genes=asked.genes,
        n_patches=(30, 60),
        gene_signal=asked.signal,
        image_signal=0.6,
        seed=seed,
    )
    adata = anndata.read_h5ad(source.adata)
    rng = np.random.default_rng(seed)
    spread, level = rng.uniform(0.3, 1.5, asked.genes), rng.uniform(0.5, 12, asked.genes)
    values = np.clip((adata.X - 8) * spread + level, 0, 29)
    adata.X = values.astype(np.float32)
    adata.write_h5ad(source.adata)
    return source


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=90)
    parser.add_argument("--genes", type=int, default=150)
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
