"""Tables of gene attributions: by case, gene, group and gene set, and compared with other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.grouping.gene_sets import places_of_sets, read_gmt
from gimp_plugin.cohort.writing import write_anndata
from gimp_plugin.explain.enrichment import enriched
from gimp_plugin.explain.faithfulness import N_TOP, n_top, spearman, top_overlap
from gimp_plugin.explain.genes import by_group
from gimp_plugin.storage.tables import write_csv
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.plots import gene_bars, write_figure
from gimp_plugin.studies.explanation.tables import Results

GENES, TOP_GENES, GROUPS, SETS = "genes.h5ad", "genes.csv", "gene_groups.csv", "gene_sets.csv"
OTHERS = "gene_stability.csv"
TOP_PLOT = "genes_top"


def write_genes(folder: Path, results: Results, inputs: Inputs, *, gene_sets: Path | None) -> bool:
    """Write gene attributions: by case, on average, by group, by gene set, by run.

    Parameters
    ----------
    folder
        Folder to write to.
    results, inputs
        The cases.
    gene_sets
        A GMT file, if any.

    Returns
    -------
    Whether any case has genes; otherwise nothing is written.
    """
    known = [(case, result) for case, result in results if result.genes.size]
    if not known:
        return False
    rows = inputs.main.gene_rows
    values = np.stack([result.genes for _, result in known])  # case, class, gene
    targets = np.array([result.target for _, result in known])
    own = values[np.arange(len(known)), targets]
    table = _gene_table(rows, values, own, inputs.classes)
    if len(inputs.models) > 1:
        theirs = np.stack([result.other_genes for _, result in known], axis=1)  # run, case, gene
        table["n_runs_top"] = _write_others(folder / OTHERS, own, theirs, inputs)
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
        uns={
            keys.UNS: {
                "classes": list(inputs.classes),
                "gene_reference": inputs.main.gene_reference,
            }
        },
        layers={f"class_{place}": values[:, place] for place in range(len(inputs.classes))},
        obsm={f"groups_class_{place}": summed[:, place] for place in range(len(inputs.classes))},
        varm={"reference": _starts(inputs)},
    )
    ranked = table.sort_values("mean_explained", ascending=False, kind="stable", key=np.abs)
    write_csv(folder / TOP_GENES, ranked.to_dict("records"), columns=list(ranked))
    _write_groups(folder / GROUPS, summed, groups, inputs.classes)
    top = ranked.head(N_TOP)
    shown = [f"{row['name'] or row['gene_id']}" for row in top.to_dict("records")]
    title = f"genes of {len(known)} cases"
    means = top["mean_explained"].to_numpy()
    write_figure(folder / TOP_PLOT, gene_bars(shown, means, title=title))
    if gene_sets is not None:
        _write_sets(folder / SETS, gene_sets, table)
    return True


def _starts(inputs: Inputs) -> NDArray[np.float32]:
    """Start of the path of each gene for each class, shape (gene, class)."""
    reference = inputs.main.reference
    if reference is None:
        return np.zeros((len(inputs.main.gene_rows), len(inputs.classes)), np.float32)
    return reference.T.cpu().numpy()


def _gene_table(
    rows: Sequence[Mapping[str, str]],
    values: NDArray[np.float32],
    own: NDArray[np.float32],
    classes: Sequence[str],
) -> pd.DataFrame:
    """One row per gene, in the order of the model."""
    means = values.mean(axis=0, dtype=np.float64)
    table = {
        "gene_id": [row["id"] for row in rows],
        "name": [row.get("name", "") for row in rows],
        "group": [int(row["group"]) for row in rows],
        "mean_abs": np.abs(own).mean(axis=0, dtype=np.float64),
        "mean_explained": own.mean(axis=0, dtype=np.float64),
    }
    return pd.DataFrame(table | {f"mean_to_{name}": means[at] for at, name in enumerate(classes)})


def _write_others(
    path: Path, own: NDArray[np.float32], theirs: NDArray[np.float32], inputs: Inputs
) -> NDArray[np.int64]:
    """Write one row per other run, and count the runs in which each gene is a top gene."""
    rows = []  # shapes (case, gene) and (run, case, gene)
    ours = _importance(own)
    found = _is_top(ours).astype(np.int64)
    for place, (model, values) in enumerate(zip(inputs.models[1:], theirs, strict=True)):
        asked = np.isfinite(values).any(axis=1)
        shared = np.isfinite(values).any(axis=0)
        if not shared.any():
            continue
        mean = _importance(values[asked][:, shared])
        among = ours if asked.all() else _importance(own[asked])
        top = n_top(len(mean))
        found[np.flatnonzero(shared)[_is_top(mean)]] += 1
        rows.append(
            {
                "run": place + 2,
                "model_sha256": model.sha256,
                "n_cases": int(asked.sum()),
                "n_genes": len(mean),
                "spearman": spearman(among[shared], mean),
                "n_top": top,
                "overlap_top": top_overlap(among[shared], mean),
                "overlap_by_chance": top / len(mean),
            }
        )
    columns = ("run", "model_sha256", "n_cases", "n_genes", "spearman", "n_top")
    write_csv(path, rows, columns=(*columns, "overlap_top", "overlap_by_chance"))
    return found


def _importance(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Absolute mean over the cases, to rank genes: effects that vary in sign cancel out."""
    return np.abs(values.mean(axis=0, dtype=np.float64))


def _is_top(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each gene is a top gene, as counted by `top_overlap`."""
    chosen = np.zeros(len(values), bool)
    chosen[np.argsort(-values, kind="stable")[: n_top(len(values))]] = True
    return chosen


def _stored(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Table of genes for HDF5, with column names that do not contain class names."""
    names = {f"mean_to_{name}": f"mean_class_{place}" for place, name in enumerate(classes)}
    named = table.drop(columns="gene_id").rename(columns=names)
    return named.set_index(table["gene_id"].rename(None))


def _write_groups(
    path: Path, summed: NDArray[np.float64], groups: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Write one row per group and class."""
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
    """Test the gene sets of a GMT file on the absolute mean attribution, and write them."""
    names = pd.DataFrame({"gene_name": table["name"]})
    places = places_of_sets(read_gmt(gene_sets), table["gene_id"].tolist(), genes=names)
    found = enriched(np.abs(table["mean_explained"].to_numpy()), places)
    columns = ("name", "n_genes", "auc", "p", "q")
    write_csv(path, [one._asdict() for one in found], columns=columns)
