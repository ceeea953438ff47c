"""`gimp explain` of unusual runs and cases, and on a full disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from gimp_plugin.storage.tables import read_csv
from tests.study_factory import make_bag, make_study, settings
from tests.test_cli_bad_cohorts import gimp
from tests.test_cli_explain import QUICK

CLASSES = ("LUAD", "LUSC", "abs")  # the last is also the end of the name of a column
COHORT = ("--adata", "genes.h5ad", "--features", "features")
N_READ = 9


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three classes, genes of counts of which a run reads some, and a system."""
    folder = tmp_path_factory.mktemp("kinds")
    make_study(folder, n_cases=24, n_genes=20, n_patches=(5, 9), classes=CLASSES, scale="counts")
    (folder / "tiny.toml").write_text(settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--config", "tiny.toml", "--from", "none", "--epochs", 1)
        done("finetune", *COHORT, *options, "--n-top-genes", N_READ, "-o", "run")
        system = ("--modalities", "slides", "--system", "clam-mb")
        done("finetune", *COHORT, *options, *system, "-o", "system")
    return folder


@pytest.fixture
def study(made, monkeypatch):
    """It, as the current folder; nothing in it is changed."""
    monkeypatch.chdir(made)
    return made


def done(*arguments):
    found = gimp(*arguments)
    assert found.exit_code == 0, found.output


def test_three_classes_chosen_genes_and_a_bag_of_one_patch(study, tmp_path):
    parts = {row["case_id"]: row["split"] for row in read_csv(Path("run/splits.csv"))}
    name = next(case_id for case_id, part in parts.items() if part == "test")
    bags = tmp_path / "bags"
    shutil.copytree("features", bags)
    (bags / f"{name}.h5").unlink()
    make_bag(bags / f"{name}.h5", 1, 0.5, rng=np.random.default_rng(0), encoder="untrained")

    cohort = ("--adata", "genes.h5ad", "--features", bags)
    left = [word for one in ("tsne", "umap", "pictures") for word in ("--skip", one)]
    speed = ("--steps", 3, "--regions", 2, "--format", "csv", *left)
    done("explain", *cohort, "--model", "run", *speed, "--split", "test", "-o", tmp_path / "why")

    rows = read_csv(tmp_path / "why" / "genes.csv")
    read = [row["id"] for row in read_csv(Path("run/genes.csv")) if row["order"]]
    assert {row["gene_id"] for row in rows} == set(read)
    adata = anndata.read_h5ad(tmp_path / "why" / "genes.h5ad")
    assert list(adata.var_names) == read
    order = {row["id"]: row for row in read_csv(Path("run/genes.csv"))}
    means = np.array([[float(order[name][f"class_mean_{at}"]) for name in read] for at in range(3)])
    assert np.allclose(adata.varm["reference"].T, (means.sum(axis=0) - means) / 2, atol=1e-6)
    ranked = [abs(float(row["mean_explained"])) for row in rows]
    assert ranked == sorted(ranked, reverse=True)
    sizes = dict(zip(read, np.abs(adata.X).mean(axis=0).tolist(), strict=True))
    for row in rows:
        assert float(row["mean_abs"]) == pytest.approx(sizes[row["gene_id"]], abs=1e-7)
        place = read.index(row["gene_id"])
        for number, kind in enumerate(CLASSES):
            mean = adata.layers[f"class_{number}"][:, place].mean()
            assert float(row[f"mean_to_{kind}"]) == pytest.approx(mean, abs=1e-6)
    with h5py.File(tmp_path / "why" / "patches" / f"{name}.h5") as file:
        assert file["attention"].shape == (1,)
        assert file["attribution"][()] == pytest.approx([0.0], abs=1e-5)  # it is the mean patch
        assert np.isnan(file["occlusion"][()]).all()  # nothing would be left


def test_a_system_is_explained_as_it_predicts(study, tmp_path):
    why, table = tmp_path / "why", tmp_path / "p.csv"
    options = ("--model", "system", "--skip", "attribution", "--split", "test", "-o", why)
    done("explain", *COHORT, *QUICK, *options)
    done("predict", *COHORT, "--model", "system", "-o", table)
    page = tmp_path / "report.html"
    done("report", "system", "--predictions", table, "--explanation", why, "-o", page)

    predicted = {row["case_id"]: row for row in read_csv(table)}
    cases = read_csv(why / "cases.csv")
    assert cases
    for row in cases:
        odds = float(row["log_odds"])
        own = float(predicted[row["case_id"]][f"prob_{row['explained']}"])
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(own, abs=1e-5)
        with h5py.File(why / "patches" / f"{row['case_id']}.h5") as file:
            assert file["attention"][()].mean() == pytest.approx(1, abs=1e-4)  # an even share
            assert np.isfinite(file["occlusion"][()]).all()
            assert "attribution" not in file
    assert not (why / "embeddings.h5ad").exists()
    assert "no embedding was drawn" in page.read_text()


@pytest.fixture
def disk(tmp_path):
    """A disk of 100 kB, and a way to enlarge it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_the_same_command_goes_on(study, disk):
    options = ("--model", "system", "--skip", "attribution", "--split", "test", "-o", disk / "why")

    full = gimp("explain", *COHORT, *QUICK, *options)
    left = {path: path.stat().st_mtime_ns for path in (disk / "why/cases").iterdir()}
    subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
    done("explain", *COHORT, *QUICK, *options)

    assert full.exit_code == 5, full.output
    assert "No space left on device" in full.stderr
    assert left
    assert not [path for path in left if path.name.startswith(".")]
    assert {path: path.stat().st_mtime_ns for path in left} == left
    assert len(list((disk / "why/cases").iterdir())) > len(left)
