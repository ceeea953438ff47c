"""Tables of an explanation: cases, halves, genes, groups, sets of genes, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.grouping.gene_sets import places_of_sets, read_gmt
from gimp_plugin.cohort.writing import write_anndata
from gimp_plugin.data.cases import Case
from gimp_plugin.evaluation.statistics import mean_interval
from gimp_plugin.explain.enrichment import enriched
from gimp_plugin.explain.genes import by_group
from gimp_plugin.explain.modalities import shapley
from gimp_plugin.prediction.halves import modalities_of
from gimp_plugin.storage.atomic import write_json
from gimp_plugin.storage.tables import write_csv
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.plots import gene_bars, write_figure
from gimp_plugin.studies.explanation.results import CaseResult

Results = Sequence[tuple[Case, CaseResult]]

CASES, MODALITIES, FAITHFULNESS = "cases.csv", "modalities.csv", "faithfulness.csv"
SUMMARY = "faithfulness.json"
GENES, TOP_GENES, GROUPS, SETS = "genes.h5ad", "genes.csv", "gene_groups.csv", "gene_sets.csv"
TOP_PLOT = "genes_top"
N_TOP = 20
FOUR = ("both", keys.SLIDES, keys.GENES, "none")


def probabilities(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each class from its log-odds against all others."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def own_evidence(result: CaseResult) -> NDArray[np.float64]:
    """Log-odds from the halves that a case has."""
    return np.asarray(result.evidence[np.isfinite(result.evidence).all(axis=1)][0])


def write_cases(path: Path, results: Results, inputs: Inputs) -> None:
    """Write one row a case: what is explained of it.

    Parameters
    ----------
    path
        The table.
    results, inputs
        The cases.
    """
    rows = []
    for case, result in results:
        odds = own_evidence(result)
        rows.append(
            {
                "case_id": case.case_id,
                "split": inputs.parts[case.case_id],
                "label": inputs.study.labels.get(case.case_id),
                "predicted": inputs.classes[int(odds.argmax())],
                "explained": inputs.classes[result.target],
                "log_odds": float(odds[result.target]),
                "modalities": modalities_of(case),
                "n_slides": len(case.bags),
                "n_patches": case.n_patches,
            }
        )
    write_csv(path, rows, columns=list(rows[0]))


def write_modalities(path: Path, results: Results, inputs: Inputs) -> bool:
    """Write which half decided, a row a case that has both and can be asked for each.

    Parameters
    ----------
    path
        The table.
    results, inputs
        The cases.

    Returns
    -------
    Whether there is any such case; else nothing is written.
    """
    rows = []
    for case, result in results:
        if not np.isfinite(result.evidence).all():
            continue
        named = dict(zip(FOUR, result.evidence[:, result.target], strict=True))
        shares = shapley(**{name: np.asarray(value) for name, value in named.items()})
        in_probability = shapley(
            **{name: probabilities(np.asarray(value)) for name, value in named.items()}
        )
        slides, genes = float(shares.slides), float(shares.genes)
        rows.append(
            {
                "case_id": case.case_id,
                "explained": inputs.classes[result.target],
                **{f"prob_{name}": float(probabilities(odds)) for name, odds in named.items()},
                **{f"log_odds_{name}": float(odds) for name, odds in named.items()},
                "shapley_slides": slides,
                "shapley_genes": genes,
                "shapley_slides_prob": float(in_probability.slides),
                "shapley_genes_prob": float(in_probability.genes),
                "decided": keys.SLIDES if slides > genes else keys.GENES,
            }
        )
    if rows:
        write_csv(path, rows, columns=list(rows[0]))
    return bool(rows)


def write_genes(folder: Path, results: Results, inputs: Inputs, *, gene_sets: Path | None) -> bool:
    """Write what genes add: of each case, on average, by group, and by sets of genes.

    Parameters
    ----------
    folder
        Where.
    results, inputs
        The cases.
    gene_sets
        A GMT file, if any.

    Returns
    -------
    Whether any case has genes; else nothing is written.
    """
    known = [(case, result) for case, result in results if result.genes.size]
    if not known:
        return False
    rows = inputs.main.record.gene_rows
    values = np.stack([result.genes for _, result in known])  # case, class, gene
    targets = np.array([result.target for _, result in known])
    own = values[np.arange(len(known)), targets]
    table = _gene_table(rows, values, own, inputs.classes)
    groups = np.array([int(row["group"]) for row in rows])
    n_groups = int(groups.max()) + 1
    summed = by_group(values, groups, n_groups=n_groups)  # case, class, group
    obs = pd.DataFrame(
        {
            "split": [inputs.parts[case.case_id] for case, _ in known],
            "label": [inputs.study.labels.get(case.case_id) for case, _ in known],
            "explained": [inputs.classes[target] for target in targets],
            "completeness_error": [float(result.gene_error[result.target]) for _, result in known],
        },
        index=[case.case_id for case, _ in known],
    )
    write_anndata(
        folder / GENES,
        own,
        obs=obs,
        var=_stored(table, inputs.classes),
        uns={keys.UNS: {"classes": list(inputs.classes)}},
        layers={f"class_{place}": values[:, place] for place in range(len(inputs.classes))},
        obsm={f"groups_class_{place}": summed[:, place] for place in range(len(inputs.classes))},
    )
    ranked = table.sort_values("mean_abs", ascending=False, kind="stable")
    write_csv(folder / TOP_GENES, ranked.to_dict("records"), columns=list(ranked))
    _write_groups(folder / GROUPS, summed, groups, inputs.classes)
    top = ranked.head(N_TOP)
    shown = [f"{row['name'] or row['gene_id']}" for row in top.to_dict("records")]
    title = f"genes of {len(known)} cases"
    means, sizes = top["mean_explained"].to_numpy(), top["mean_abs"].to_numpy()
    write_figure(folder / TOP_PLOT, gene_bars(shown, means, sizes, title=title))
    if gene_sets is not None:
        _write_sets(folder / SETS, gene_sets, table)
    return True


def write_faithfulness(folder: Path, results: Results, inputs: Inputs, *, seed: int) -> None:
    """Write what was measured of each case, and the means with intervals over cases.

    Parameters
    ----------
    folder
        Where.
    results, inputs
        The cases.
    seed
        Of the intervals.
    """
    measured = [(case, result.metrics) for case, result in results if result.metrics]
    names = sorted({name for _, metrics in measured for name in metrics})
    rows = [
        {
            "case_id": case.case_id,
            "split": inputs.parts[case.case_id],
            **{name: metrics.get(name) for name in names},
        }
        for case, metrics in measured
    ]
    write_csv(folder / FAITHFULNESS, rows, columns=["case_id", "split", *names])
    write_json(folder / SUMMARY, _summary([metrics for _, metrics in measured], names, seed))


def _summary(
    measured: Sequence[Mapping[str, float]], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Mean of each number over the cases that have it, with its 95 % interval."""
    found = {}
    for name in names:
        values = np.array([metrics[name] for metrics in measured if name in metrics])
        if name == "completeness_error":
            found["completeness_error_abs"] = _stated(np.abs(values), seed)
        else:
            found[name] = _stated(values, seed)
    return found


def _stated(values: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Mean, interval, and number of cases."""
    low, high = mean_interval(values, seed=seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "n_cases": len(values)}


def _gene_table(
    rows: Sequence[Mapping[str, str]],
    values: NDArray[np.float32],
    own: NDArray[np.float32],
    classes: Sequence[str],
) -> pd.DataFrame:
    """One row a gene, in the order of the model."""
    means = values.mean(axis=0, dtype=np.float64)
    table = {
        "gene_id": [row["id"] for row in rows],
        "name": [row.get("name", "") for row in rows],
        "group": [int(row["group"]) for row in rows],
        "mean_abs": np.abs(own).mean(axis=0, dtype=np.float64),
        "mean_explained": own.mean(axis=0, dtype=np.float64),
    }
    return pd.DataFrame(table | {f"mean_{name}": means[at] for at, name in enumerate(classes)})


def _stored(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Table of genes as HDF5 takes it: a class may have a name that is no name of a column."""
    names = {f"mean_{name}": f"mean_class_{place}" for place, name in enumerate(classes)}
    named = table.drop(columns="gene_id").rename(columns=names)
    return named.set_index(table["gene_id"].rename(None))


def _write_groups(
    path: Path, summed: NDArray[np.float64], groups: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Write one row a group and class."""
    rows = [
        {
            "group": group,
            "class": name,
            "n_genes": int((groups == group).sum()),
            "mean": float(summed[:, place, group].mean()),
            "mean_abs": float(np.abs(summed[:, place, group]).mean()),
        }
        for group in range(summed.shape[2])
        for place, name in enumerate(classes)
    ]
    write_csv(path, rows, columns=list(rows[0]))


def _write_sets(path: Path, gene_sets: Path, table: pd.DataFrame) -> None:
    """Write the sets of a GMT file, tested on the mean absolute attribution."""
    names = pd.DataFrame({"gene_name": table["name"]})
    places = places_of_sets(read_gmt(gene_sets), table["gene_id"].tolist(), genes=names)
    found = enriched(table["mean_abs"].to_numpy(), places)
    columns = ("name", "n_genes", "auc", "p", "q")
    write_csv(path, [one._asdict() for one in found], columns=columns)
