"""Cases with one half: of slides only, of a table beside the cohort, of nothing but slides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata
import pytest

from gimp_plugin import keys
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.data.study import prepare
from gimp_plugin.errors import CohortError, ConfigError, PairingError
from gimp_plugin.prediction import predict
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune, pretrain
from tests.cohort_factory import CLASSES
from tests.study_factory import make_study, tiny_config

N_CASES = 30


def labels_of(folder: Path, cases: range = range(N_CASES), name: str = "labels.csv") -> Path:
    rows = "".join(f"P{case:02d},{CLASSES[case % 2]}\n" for case in cases)
    path = folder / name
    path.write_text(f"patient,label\n{rows}", encoding="utf-8")
    return path


@pytest.fixture
def both(tmp_path: Path) -> CohortSource:
    return make_study(tmp_path)


@pytest.fixture
def image_only(both: CohortSource, tmp_path: Path) -> CohortSource:
    return CohortSource(labels=labels_of(tmp_path), case_key="patient", features=both.features)


def test_a_table_of_labels_is_a_cohort_of_slides(
    image_only: CohortSource, both: CohortSource
) -> None:
    study, same = prepare(image_only, modalities="slides"), prepare(both, modalities="slides")

    assert study.labels == same.labels
    assert study.case_ids == same.case_ids
    assert not any(case.has_genes for case in study.cases)
    assert study.fingerprint()["bags"] == same.fingerprint()["bags"]


def test_other_names_of_the_genes_count_for_what_a_study_is_made_of(both: CohortSource) -> None:
    adata = anndata.read_h5ad(both.adata)
    found = []
    for name in (None, "A", "B"):
        if name is not None:
            adata.var["gene_name"] = [f"{name}{gene}" for gene in range(adata.n_vars)]
            adata.write_h5ad(both.adata)
        found.append(prepare(both).fingerprint())

    assert len({one["expression"] for one in found}) == 3
    assert len({(one["labels"], one["bags"]) for one in found}) == 1


def test_a_model_of_slides_trains_and_predicts_without_a_cohort(
    image_only: CohortSource, tmp_path: Path
) -> None:
    config = tiny_config(model__modalities="slides")
    pretrain(image_only, config, output=tmp_path / "pre", runtime=Runtime())
    start = str(tmp_path / "pre")
    finetune(CohortSource(), config, start=start, output=tmp_path / "fine", runtime=Runtime())

    table = tmp_path / "predictions.csv"
    source = CohortSource(features=image_only.features)
    result = predict(tmp_path / "fine", source, output=table, runtime=Runtime())

    assert result.n_cases == N_CASES
    rows = read_csv(table)
    assert {row["modalities"] for row in rows} == {keys.SLIDES}
    assert {row["gene_coverage"] for row in rows} == {""}
    assert (tmp_path / "fine" / "genes.csv").read_text() == "id,order,mean,std,group,name\n"
    inputs = json.loads((tmp_path / "fine" / "config.json").read_text())["inputs"]
    assert inputs["genes"] == ""


def test_the_table_beats_the_cohorts_classes(both: CohortSource, tmp_path: Path) -> None:
    swapped = tmp_path / "labels.csv"
    rows = "".join(f"P{case:02d},{CLASSES[1 - case % 2]}\n" for case in range(N_CASES))
    swapped.write_text(f"case_id,label\n{rows}", encoding="utf-8")

    study = prepare(replace(both, labels=swapped))

    assert study.labels["P00"] == CLASSES[1]
    assert prepare(both).labels["P00"] == CLASSES[0]


def test_errors_of_pairing_name_the_files_that_were_read(
    image_only: CohortSource, both: CohortSource
) -> None:
    bags = {f"x-{bag.slide_id}": bag for bag in list_bags(both.features)}
    for bag in bags.values():
        bag.path.rename(bag.path.with_name(f"x-{bag.path.name}"))

    with pytest.raises(PairingError, match=r"^'[^']*labels\.csv' and '[^']*features': no slide"):
        prepare(replace(image_only, missing="error"), modalities="slides")
    with pytest.raises(PairingError, match=r"^'[^']*\.h5ad' and '[^']*features': no slide"):
        prepare(both)
    with pytest.raises(PairingError, match=r"^'[^']*\.h5ad': no slide"):
        prepare(both, bags=bags)


def test_cases_that_the_table_does_not_name_are_left_out(
    both: CohortSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = labels_of(tmp_path, range(4, 30))

    study = prepare(replace(both, labels=table, case_key="patient"))

    assert "P03" not in study.case_ids
    assert "P04" in study.case_ids
    left = [one for one in study.exclusions if one.case_id == "P03"]
    assert [(one.step, one.reason) for one in left] == [("labels", f"not in {str(table)!r}")]
    assert "4 cases left out, without a class: 'P00', 'P01'" in caplog.text


def test_a_case_of_the_table_only_is_kept_on_request(tmp_path: Path) -> None:
    source = make_study(tmp_path, n_cases=31)
    table = labels_of(tmp_path, range(31))
    import anndata

    cohort = anndata.read_h5ad(source.adata)
    cohort[:-1].copy().write_h5ad(source.adata)
    source = replace(source, labels=table, case_key="patient")

    kept = prepare(replace(source, missing="keep"))
    dropped = prepare(source)

    last = kept.cases[-1]
    assert (last.case_id, last.has_genes, last.has_slides) == ("P30", False, True)
    assert kept.labels["P30"] == CLASSES[0]
    assert "P30" not in dropped.case_ids
    assert ("P30", "its case is not in the cohort") in [
        (one.case_id, one.reason) for one in dropped.exclusions
    ]
    assert prepare(replace(source, missing="keep"), modalities="genes").case_ids[-1] == "P29"
    assert prepare(source, modalities="slides").case_ids[-1] == "P30"


@pytest.mark.parametrize("missing", ["drop", "keep"])
@pytest.mark.parametrize("modalities", [keys.BOTH, keys.SLIDES, keys.GENES])
def test_every_case_is_used_or_listed(tmp_path: Path, missing: str, modalities: str) -> None:
    """P00 and P01 have no genes, P01 and P02 no slide, P01 is in the table alone."""
    import anndata

    source = make_study(tmp_path, n_cases=30)
    anndata.read_h5ad(source.adata)[2:].copy().write_h5ad(source.adata)
    for case_id in ("P01", "P02"):
        (source.features / f"{case_id}.h5").unlink()
    source = replace(source, labels=labels_of(tmp_path), case_key="patient", missing=missing)

    study = prepare(source, modalities=modalities)

    listed = [one.case_id for one in study.exclusions]
    assert sorted([*study.case_ids, *listed]) == [f"P{case:02d}" for case in range(30)]
    assert "P01" in listed
    assert all(case.has_genes or case.has_slides for case in study.cases)


def test_a_table_with_a_gap_is_refused(both: CohortSource, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("case_id,label\nP00,LUAD\nP01,\nP02,LUSC\n", encoding="utf-8")

    with pytest.raises(CohortError) as caught:
        prepare(replace(both, labels=table))

    problem = f"1 of 3 cases have no value in column 'label' of {str(table)!r}: 'P01'"
    assert problem in str(caught.value)


def test_genes_that_are_not_there_are_asked_for(image_only: CohortSource) -> None:
    with pytest.raises(ConfigError, match=r"the model reads slides\+genes.*--modalities slides"):
        prepare(image_only)
    with pytest.raises(ConfigError, match="the model reads genes"):
        prepare(image_only, modalities="genes", labelled=False)
    with pytest.raises(ConfigError, match="which cases there are and their classes"):
        prepare(CohortSource(), modalities="slides")


def test_a_model_of_both_halves_predicts_slides_without_a_cohort(
    both: CohortSource, tmp_path: Path
) -> None:
    config = tiny_config()
    run = tmp_path / "run"
    finetune(both, config, start="none", output=run, runtime=Runtime())

    table = tmp_path / "p.csv"
    predict(run, CohortSource(features=both.features), output=table, runtime=Runtime())

    rows = read_csv(table)
    assert len(rows) == N_CASES
    assert {(row["modalities"], row["label"]) for row in rows} == {(keys.SLIDES, "")}
    with pytest.raises(ConfigError, match="nothing says which cases to predict"):
        predict(run, CohortSource(), output=tmp_path / "q.csv", runtime=Runtime())
    assert not (tmp_path / "q.csv").exists()


def test_folds_may_stand_in_the_table(image_only: CohortSource, tmp_path: Path) -> None:
    rows = "".join(f"P{case:02d},{CLASSES[case % 2]},{case // 2 % 3}\n" for case in range(N_CASES))
    table = tmp_path / "folds.csv"
    table.write_text(f"case_id,label,fold\n{rows}", encoding="utf-8")
    source = CohortSource(labels=table, features=image_only.features, splits="obs:fold", fold="1")

    pretrain(
        source, tiny_config(model__modalities="slides"), output=tmp_path / "r", runtime=Runtime()
    )

    parts = {row["case_id"]: row["split"] for row in read_csv(tmp_path / "r" / "splits.csv")}
    assert {name for name, part in parts.items() if part == "test"} == {
        f"P{case:02d}" for case in range(N_CASES) if case // 2 % 3 == 1
    }
