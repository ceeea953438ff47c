"""What bad cohorts, bags and splits get at the command line: code, file, field, nothing changed.

The numbers are those of the project's list of bad inputs, 46 to 77 and 95.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from gimp_plugin.cli.main import cli
from gimp_plugin.storage import hdf5
from gimp_plugin.storage.tables import read_csv
from tests.cohort_factory import CLASSES, make_cohort
from tests.study_factory import make_bag, make_study, settings

N_CASES, N_GENES = 31, 43
CASES = [f"P{case:02d}" for case in range(N_CASES)]


WRITER = "import h5py; file = h5py.File('genes.h5ad', 'r+'); print(flush=True); input()"


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, with the empty folders."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def gimp(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study and a run that was fine-tuned on it."""
    folder = tmp_path_factory.mktemp("trained")
    source = make_study(folder, n_cases=N_CASES, n_genes=N_GENES)
    (folder / "tiny.toml").write_text(settings())
    options = ("--adata", source.adata, "--features", source.features)
    result = gimp(
        *("finetune", *options, "--from", "none", "--config", folder / "tiny.toml"),
        *("-o", folder / "run", "--epochs", 1),
    )
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in the current folder, with a settings file for a tiny model."""
    make_study(tmp_path, n_cases=N_CASES, n_genes=N_GENES)
    (tmp_path / "tiny.toml").write_text(settings())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, code: int, *arguments: object) -> str:
    """What a command says that ends with a code and changes nothing."""
    before = contents(folder)
    result = gimp(*arguments)
    assert result.exit_code == code, result.stderr
    assert contents(folder) == before
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result.stderr


def pretrain_refused(folder: Path, *arguments: object, code: int = 3) -> str:
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml")
    return refused(folder, code, "pretrain", *options, *arguments)


def predict_refused(trained: Path, cohort: Path, *arguments: object, code: int = 3) -> str:
    options = ("--adata", cohort, "--model", trained / "run", "--features", trained / "features")
    output = cohort.parent / "predictions.csv"
    return refused(cohort.parent, code, "predict", *options, "-o", output, *arguments)


def predicted(trained: Path, cohort: Path, *arguments: object) -> list[dict[str, str]]:
    output = cohort.parent / f"{cohort.stem}.csv"
    options = ("--adata", cohort, "--model", trained / "run", "--features", trained / "features")
    result = gimp("predict", *options, "-o", output, *arguments)
    assert result.exit_code == 0, result.stderr
    return read_csv(output)


def rewritten(path: Path, change: Callable[[anndata.AnnData], anndata.AnnData | None]) -> Path:
    """Change a cohort and write it again."""
    adata = anndata.read_h5ad(path)
    changed = change(adata)
    (adata if changed is None else changed).write_h5ad(path)
    return path


# 46 to 52: the container


@pytest.mark.parametrize(
    ("share", "word"), [(0, "empty"), (0.3, "truncated"), (0.999, "truncated")]
)
def test_46_a_cohort_cut_off(study: Path, share: float, word: str) -> None:
    path = study / "genes.h5ad"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    said = pretrain_refused(study)

    assert "'genes.h5ad'" in said
    assert word in said
    if share:
        assert f"{int(share * len(whole))} bytes" in said


def test_47_values_and_names_of_different_number(study: Path) -> None:
    with h5py.File(study / "genes.h5ad", "r+") as file:
        values, attributes = file["X"][:-2], dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=values).attrs.update(attributes)

    said = pretrain_refused(study)

    assert f"'X' of 'genes.h5ad' has the shape (29, {N_GENES}), but 'obs' names 31 cases" in said


def test_48_a_bag_as_cohort_a_cohort_as_bag_and_values_alone(study: Path) -> None:
    bag = pretrain_refused(study, "--adata", "features/P03.h5")
    cohort = pretrain_refused(study, "--features", "genes.h5ad")
    with h5py.File(study / "x.h5ad", "w") as file:
        file["X"] = np.ones((3, 2))
    alone = pretrain_refused(study, "--adata", "x.h5ad")

    assert "'features/P03.h5' is a feature file (the bag of one slide), not a cohort" in bag
    assert "'genes.h5ad' is a file, expected a folder of features" in cohort
    assert "'x.h5ad' is not an AnnData file: it has no 'obs' and no 'var'" in alone


@pytest.mark.parametrize("place", ["/", "X", "obs"])
def test_49_an_encoding_from_the_future(study: Path, place: str) -> None:
    with h5py.File(study / "genes.h5ad", "r+") as file:
        file[place].attrs["encoding-version"] = "9.9.9"

    said = pretrain_refused(study)

    assert "'genes.h5ad'" in said
    assert "9.9.9" in said
    assert "newer anndata" in said


def test_50_a_sparse_index_out_of_range(study: Path) -> None:
    make_cohort(study / "genes.h5ad", n_cases=N_CASES, n_genes=N_GENES, sparse="csr")
    with h5py.File(study / "genes.h5ad", "r+") as file:
        file["X"]["indices"][5] = 1_000_000

    said = pretrain_refused(study)

    assert "'X' of 'genes.h5ad' has a wrong sparse index: entry 1000000 in 'indices'" in said


def test_51_no_values_or_text(study: Path) -> None:
    make_cohort(study / "none.h5ad", layer="raw")
    none = pretrain_refused(study, "--adata", "none.h5ad")
    with h5py.File(study / "genes.h5ad", "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        cells = np.full((N_CASES, N_GENES), "high", dtype=object)
        file.create_dataset("X", data=cells, dtype=h5py.string_dtype()).attrs.update(attributes)
    text = pretrain_refused(study)

    assert "'none.h5ad' has no X" in none
    assert "give --layer, one of 'raw'" in none
    assert "'X' of 'genes.h5ad' holds text, expected numbers" in text


@pytest.mark.parametrize(("shape", "noun"), [((0, 3), "cases"), ((4, 0), "genes")])
def test_52_nobody_or_nothing(study: Path, shape: tuple[int, int], noun: str) -> None:
    anndata.AnnData(np.ones(shape, np.float32)).write_h5ad(study / "empty.h5ad")

    assert f"'empty.h5ad' has 0 {noun}" in pretrain_refused(study, "--adata", "empty.h5ad")


# 53 to 58, and 95: names and values


@pytest.mark.filterwarnings("ignore:.* names are not unique:UserWarning")
def test_53_a_case_twice(study: Path) -> None:
    names = [*CASES[:-6], *CASES[:6]]
    make_cohort(study / "genes.h5ad", case_ids=names, n_cases=N_CASES)

    said = pretrain_refused(study)

    assert "obs_names of 'genes.h5ad' are not unique: 6 appear more than once" in said
    assert "'P00', 'P01', 'P02', 'P03', 'P04' and 1 more" in said
    assert "--case-key" in said


@pytest.mark.filterwarnings("ignore:.* names are not unique:UserWarning")
def test_54_a_gene_twice(study: Path) -> None:
    make_cohort(study / "genes.h5ad", n_cases=N_CASES, n_genes=3, gene_ids=["A", "B", "A"])

    said = pretrain_refused(study)

    assert "var_names of 'genes.h5ad' are not unique: 1 appear more than once: 'A'" in said
    assert "--duplicate-genes sum, mean or first" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_55_values_that_are_none(study: Path, value: float) -> None:
    def spoil(adata: anndata.AnnData) -> None:
        adata.X[4, 7] = adata.X[9, 1] = value

    rewritten(study / "genes.h5ad", spoil)

    said = pretrain_refused(study)

    assert f"2 of {N_CASES * N_GENES} values in 'genes.h5ad' are NaN or infinite" in said
    assert "of case 'P04', gene 'G007'" in said
    assert "--impute" in said


def test_56_negative_counts(study: Path) -> None:
    def spoil(adata: anndata.AnnData) -> None:
        adata.X[4, 7] = -2.5

    rewritten(study / "genes.h5ad", spoil)

    said = pretrain_refused(study, "--scale", "fpkm")

    assert "'genes.h5ad' is declared as 'fpkm', but has -2.5 of case 'P04', gene 'G007'" in said


@pytest.mark.parametrize(
    ("ids", "scale", "words"),
    [
        ([f"ENSG{gene:011d}" for gene in range(5)] + ["TP53"], "log", ("5 Ensembl", "'TP53'")),
        (None, "standardised", ("negative values", "looks standardised", "not declared")),
    ],
)
def test_95_mixed_names_and_undeclared_z_scores(
    study: Path, ids: list[str] | None, scale: str, words: tuple[str, ...]
) -> None:
    make_cohort(study / "genes.h5ad", n_cases=N_CASES, n_genes=6, gene_ids=ids, scale=scale)

    said = pretrain_refused(study)

    assert "'genes.h5ad'" in said
    assert all(word in said for word in words)


def test_57_another_scale_than_the_runs(trained: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "new.h5ad"
    make_cohort(cohort, n_cases=N_CASES, n_genes=N_GENES, scale="fpkm")
    linear = predict_refused(trained, cohort)
    make_cohort(cohort, n_cases=N_CASES, n_genes=N_GENES, scale="counts", declared="counts")
    counts = predict_refused(trained, cohort)

    trained_on = "trained on the scale 'log'"
    assert trained_on in linear
    assert f"{str(cohort)!r} is on 'linear' (guessed)" in linear
    assert trained_on in counts
    assert f"{str(cohort)!r} is on 'counts' (declared)" in counts


def test_58_symbols_against_ensembl_ids(trained: Path, tmp_path: Path) -> None:
    ids = [f"ENSG{gene:011d}.3" for gene in range(N_GENES)]
    cohort = make_cohort(
        tmp_path / "new.h5ad", n_cases=N_CASES, n_genes=N_GENES, gene_ids=ids, declared="log"
    )

    said = predict_refused(trained, cohort)

    assert f"{str(cohort)!r} has 0 of the model's {N_GENES} genes" in said
    assert "'G000'" in said
    assert "'ENSG00000000000.3'" in said
    assert "genes are matched by their exact id, then by their Ensembl id without version" in said


# 59 to 63: genes at prediction


def test_59_genes_that_are_missing(trained: Path, tmp_path: Path) -> None:
    few, some = tmp_path / "few.h5ad", tmp_path / "some.h5ad"
    for path, kept in ((few, slice(3, None)), (some, slice(1, None))):
        rewritten_copy(trained, path, lambda adata, kept=kept: adata[:, kept].copy())

    said = predict_refused(trained, few)
    rows = predicted(trained, some)
    lowered = predicted(trained, few, "--min-gene-coverage", 0.9)

    assert f"{str(few)!r} has 40 of the model's {N_GENES} genes (0.930, expected at least" in said
    assert "missing: 'G000', 'G001', 'G002'" in said
    assert [float(row["gene_coverage"]) for row in rows] == pytest.approx([42 / N_GENES] * 31)
    assert [float(row["gene_coverage"]) for row in lowered] == pytest.approx([40 / N_GENES] * 31)


def rewritten_copy(
    trained: Path, path: Path, change: Callable[[anndata.AnnData], anndata.AnnData | None]
) -> Path:
    path.write_bytes((trained / "genes.h5ad").read_bytes())
    return rewritten(path, change)


def test_60_and_61_other_order_and_more_genes(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = rewritten_copy(trained, tmp_path / "same.h5ad", lambda adata: adata)
    order = np.random.default_rng(0).permutation(N_GENES)
    other = rewritten_copy(trained, tmp_path / "other.h5ad", lambda adata: adata[:, order].copy())

    def widen(adata: anndata.AnnData) -> anndata.AnnData:
        more = adata[:, :4].copy()
        more.var_names = ["NEW1", "NEW2", "NEW3", "NEW4"]
        wide = anndata.concat([more, adata], axis=1)
        wide.obs, wide.uns = adata.obs, adata.uns
        return wide

    wide = rewritten_copy(trained, tmp_path / "wide.h5ad", widen)

    expected = predicted(trained, same)
    assert predicted(trained, other) == expected
    caplog.set_level("INFO")
    assert predicted(trained, wide) == expected
    assert "4 genes that the model does not read" in caplog.text


def test_62_and_63_constant_genes_and_a_case_of_zeros(study: Path) -> None:
    def flatten(adata: anndata.AnnData) -> None:
        adata.X[:, 5], adata.X[:, 6] = 3.25, 0
        adata.X[8] = 0

    rewritten(study / "genes.h5ad", flatten)
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml")

    result = gimp("finetune", "--from", "none", *options, "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    assert "1 case of 'genes.h5ad' with the value 0 for every gene: 'P08'" in result.stderr
    assert gimp("predict", "--adata", "genes.h5ad").exit_code == 0
    rows = read_csv(study / "predictions.csv")
    assert all(np.isfinite(float(row["prob_LUAD"])) for row in rows)


# 64 to 69: labels and splits


def test_64_cases_without_a_class(study: Path) -> None:
    def spoil(adata: anndata.AnnData) -> None:
        adata.obs["label"] = [None if case % 4 == 0 else CLASSES[case % 2] for case in range(31)]

    rewritten(study / "genes.h5ad", spoil)

    said = pretrain_refused(study)

    assert "8 of 31 cases have no value in obs['label'] of 'genes.h5ad'" in said
    assert "'P00', 'P04', 'P08', 'P12', 'P16' and 3 more" in said
    assert "--obs-filter" in said


def test_65_a_column_that_is_none_of_classes(study: Path) -> None:
    """Mixed kinds cannot be stored in an AnnData file (tests/test_cohort_labels.py has them)."""

    def spoil(adata: anndata.AnnData) -> None:
        adata.obs["label"] = np.linspace(0.5, 3.7, 31)

    rewritten(study / "genes.h5ad", spoil)

    said = pretrain_refused(study)

    assert "obs['label'] of 'genes.h5ad' holds measurements, expected classes" in said


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["A"] * 31, "obs['label'] of 'genes.h5ad' has one class only, 'A'"),
        (["A"] * 30 + ["B"], "class 'B' has 1 case, expected at least 3"),
    ],
)
def test_66_one_class_or_one_case(study: Path, labels: list[str], words: str) -> None:
    make_cohort(study / "genes.h5ad", labels=labels)

    assert words in pretrain_refused(study)


def test_67_batches_without_a_positive(study: Path) -> None:
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--batch-size", 2, "--epochs", 1)
    make_cohort(
        study / "genes.h5ad", labels=["A"] * 11 + ["B"] * 10 + ["C"] * 10, n_genes=5, declared="log"
    )

    result = gimp("pretrain", *options)

    assert result.exit_code == 0, result.stderr
    assert "nan" not in (study / "runs/pretrain/log.jsonl").read_text().lower()


def splits(study: Path, part_of: dict[str, str], *, more: str = "") -> Path:
    path = study / "splits.csv"
    rows = "".join(f"{case},{part}\n" for case, part in part_of.items())
    path.write_text(f"case_id,split\n{rows}{more}")
    return path


def parts(*, val: int = 6, test: int = 6) -> dict[str, str]:
    names = ["val"] * val + ["test"] * test
    return dict(zip(CASES, [*names, *["train"] * (31 - len(names))], strict=True))


def test_68_a_patient_in_two_parts(study: Path) -> None:
    splits(study, parts(), more="P30,test\n")

    said = pretrain_refused(study, "--splits", "splits.csv")

    assert "'splits.csv', fold 0: 1 patient is in two parts: 'P30 (train and test)'" in said


def test_69_unknown_parts_and_no_val(study: Path) -> None:
    splits(study, parts() | {"P30": "tset"})
    unknown = pretrain_refused(study, "--splits", "splits.csv")
    splits(study, parts(val=0))
    empty = pretrain_refused(study, "--splits", "splits.csv")

    assert "case 'P30' is in the unknown part 'tset', did you mean 'test'?" in unknown
    assert "'splits.csv', fold 0: the part 'val' is empty" in empty


# 70 and 71: pairing


def test_70_slides_without_genes_and_genes_without_slides(study: Path) -> None:
    (study / "features" / "P02.h5").unlink()
    make_bag(
        study / "features" / "X9.h5", 9, 0.5, rng=np.random.default_rng(0), encoder="untrained"
    )
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)

    said = pretrain_refused(study, "--missing", "error")
    result = gimp("pretrain", *options)

    assert "'genes.h5ad' and 'features': 1 of 31 cases have no slide: 'P02'" in said
    assert "1 slide does not belong to any case of the cohort: 'X9'" in said
    assert result.exit_code == 0, result.stderr
    assert "1 of 31 cases left out (no slide): 'P02'" in result.stderr
    left_out = read_csv(study / "runs/pretrain/exclusions.csv")
    assert [(row["case_id"], row["slide_id"], row["reason"]) for row in left_out] == [
        ("P02", "", "no slide"),
        ("X9", "X9", "its case is not in the cohort"),
    ]


def test_70_nothing_paired(study: Path) -> None:
    for path in sorted((study / "features").iterdir()):
        path.rename(path.with_name(f"slide-{path.name}"))

    said = pretrain_refused(study)

    assert (
        "'genes.h5ad' and 'features': no slide belongs to a case of the cohort: "
        "cases 'P00', 'P01', 'P02'"
    ) in said
    assert "--slide-table" in said


def test_71_a_barcode_of_two_rows(study: Path) -> None:
    names = ["TCGA-05-4244-01A", "TCGA-05-4244-02A", *CASES[2:]]
    make_cohort(study / "genes.h5ad", case_ids=names, n_cases=31)
    (study / "features/P00.h5").rename(study / "features/TCGA-05-4244-01Z-00-DX1.d4ff.h5")

    said = pretrain_refused(study)

    assert "'TCGA-05-4244'" in said
    assert "'TCGA-05-4244-01A', 'TCGA-05-4244-02A'" in said
    assert "first 12 characters" in said


# 72 to 77: bags


def test_72_bags_of_two_encoders(study: Path, trained: Path) -> None:
    rng = np.random.default_rng(0)
    (study / "features/P04.h5").unlink()
    make_bag(study / "features/P04.h5", 9, 0.5, rng=rng, encoder="resnet50")
    mixed = pretrain_refused(study)
    for case in CASES:
        (study / f"features/{case}.h5").unlink()
        make_bag(study / f"features/{case}.h5", 9, 0.5, rng=rng, encoder="resnet50")
    other = refused(
        study,
        3,
        *("predict", "--adata", "genes.h5ad", "--model", trained / "run", "--features", "features"),
    )

    assert "bags of different encoders are mixed: 'features/P00.h5' is 11-d of 'untrained'" in mixed
    assert "'features/P04.h5' is 11-d of 'resnet50'" in mixed
    assert "was trained on 11-d features of 'untrained', the bags are 11-d of 'resnet50'" in other


@pytest.mark.parametrize(
    ("name", "shape", "coords", "words"),
    [
        ("values", (9, 11), (9, 2), "has no dataset 'features', only ['coords', 'values']"),
        ("features", (9,), (9, 2), "'features' has shape (9,), expected (patches, dim)"),
        ("features", (9, 11), (8, 2), "'coords' has shape (8, 2), expected (9, 2)"),
        ("features", (0, 11), (0, 2), "has no patches"),
    ],
)
def test_73_a_bag_of_another_shape_is_left_out(
    study: Path, name: str, shape: tuple[int, ...], coords: tuple[int, ...], words: str
) -> None:
    with h5py.File(study / "features/P05.h5", "w") as file:
        file[name], file["coords"] = np.ones(shape), np.zeros(coords, int)

    result = gimp("pretrain", "--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)

    assert result.exit_code == 0, result.stderr
    assert "1 bag left out: 'P05' (the first: 'features/P05.h5'" in result.stderr
    left_out = read_csv(study / "runs/pretrain/exclusions.csv")
    assert words in next(row["reason"] for row in left_out if row["slide_id"] == "P05")


def test_73_a_bag_with_a_value_that_is_none(study: Path) -> None:
    for case in CASES:
        with h5py.File(study / f"features/{case}.h5", "w") as file:
            values = np.random.default_rng(1).normal(size=(9, 11))
            values[4, 2] = np.nan
            file["features"], file["coords"] = values, np.zeros((9, 2), int)

    result = gimp("pretrain", "--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)

    assert result.exit_code == 3
    assert "row 4 of 'features' is not finite" in result.stderr
    assert "features/P" in result.stderr
    assert not (study / "runs/pretrain/model.safetensors").exists()


@pytest.mark.parametrize("dtype", ["float64", "int16"])
def test_73_other_numbers_are_converted(study: Path, dtype: str) -> None:
    for case in CASES:
        with h5py.File(study / f"features/{case}.h5", "w") as file:
            values = np.random.default_rng(1).normal(0, 9, size=(9, 11))
            file["features"], file["coords"] = values.astype(dtype), np.zeros((9, 2), int)

    result = gimp("pretrain", "--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)

    assert result.exit_code == 0, result.stderr


class Evil:
    """What `pickle.load` would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_74_tensors_are_read_and_code_is_not_run(study: Path) -> None:
    for case in CASES:
        with h5py.File(study / f"features/{case}.h5") as file:
            torch.save(torch.from_numpy(file["features"][:]), study / f"features/{case}.pt")
        (study / f"features/{case}.h5").unlink()
    result = gimp("pretrain", "--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    torch.save(Evil(study / "ran"), study / "features/P07.pt")

    said = pretrain_refused(study, "-o", "other", code=7)

    assert "'features/P07.pt' is a pickle that names 'posix mkdir'; it was not run" in said
    assert not (study / "ran").exists()


def test_75_a_cohort_that_is_being_written(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "LOCK_WAIT_S", 0.01)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        writer.stdout.readline()
        said = pretrain_refused(study, code=6)
        writer.stdin.write(b"\n")
        writer.stdin.close()

    assert "Error: 'genes.h5ad' is still open for writing in another process" in said


def test_76_a_byte_flipped(study: Path) -> None:
    for case in CASES:
        path = study / f"features/{case}.h5"
        with h5py.File(path) as file:
            offset = file["features"].id.get_chunk_info(0).byte_offset
        content = bytearray(path.read_bytes())
        content[offset + 3] ^= 1
        path.write_bytes(content)

    result = gimp("pretrain", "--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)

    assert result.exit_code == 3
    assert ".h5': 'features' is damaged (checksum or storage)" in result.stderr


def test_77_bytes_of_other_files(study: Path) -> None:
    secret = study / "secret.bin"
    secret.write_bytes(bytes(4000))
    with h5py.File(study / "features/P06.h5", "w") as file:
        file.create_dataset("features", (9, 11), "f4", external=[(str(secret), 0, 396)])
        file["coords"] = np.zeros((9, 2), int)
    bag = pretrain_refused(study, code=7)
    with h5py.File(study / "genes.h5ad", "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(secret), "/X")
    cohort = pretrain_refused(study, code=7)

    assert "'features/P06.h5': 'features' is stored in other files" in bag
    assert "'genes.h5ad': 'X' is a ExternalLink to another place; nothing was read" in cohort
