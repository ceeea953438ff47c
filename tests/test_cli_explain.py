"""`gimp explain` on planted cohorts: what it finds, what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from gimp_plugin.cohort.gene_table import COLUMNS
from gimp_plugin.config import ExplainConfig
from gimp_plugin.storage.bags import BagWriter, read_coords, read_features, read_info
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.explanation.names import file_name
from gimp_plugin.studies.explanation.references import references_of
from tests.cohort_factory import cohort_in_memory
from tests.slide_factory import make_slide
from tests.slide_readers import BorrowedReaders
from tests.study_factory import FEATURE_DIM, make_study, settings
from tests.test_cli_bad_cohorts import contents, gimp, refused

N_CASES, N_GENES = 34, 17
INFORMATIVE = {f"G{place:03}" for place in range(N_GENES // 3)}
SIDE = 256
PATIENT = "ERIKA MUSTERMANN"
SMALL = ("--steps", 9, "--regions", 5)
FEW = ("--steps", 3, "--skip", "faithfulness", "--skip", "tsne", "--skip", "umap")
DRAWN = (*SMALL, *FEW, "--format", "csv")
FEW_CASES = ("--adata", "few/genes.h5ad", "--features", "few")
QUICK = (*DRAWN, "--skip", "pictures")


def explain(*arguments, speed=QUICK):
    return gimp("explain", "--adata", "genes.h5ad", *speed, *arguments)


def placed(folder, size=(1100, 900), first=0):
    """Tell every bag how large its patches and its slide are, and where the first one lies."""
    for path in sorted(folder.glob("*.h5")):
        info = read_info(path)
        features, n_patches = read_features(info), info.n_patches
        corners = SIDE * np.stack([np.arange(n_patches) % 4, np.arange(n_patches) // 4], axis=1)
        facts = {"encoder": "untrained", "slide_width": size[0], "slide_height": size[1]}
        path.unlink()
        with BagWriter(
            path, dim=FEATURE_DIM, attributes=facts, coords_attributes={"patch_size_level0": SIDE}
        ) as writer:
            writer.append(features, corners.astype(np.int32) + first)


def only(case_ids, folder):
    """Copy some cases of the study into a folder."""
    folder.mkdir()
    anndata.read_h5ad("genes.h5ad")[case_ids].write_h5ad(folder / "genes.h5ad")
    for name in case_ids:
        shutil.copy(f"features/{name}.h5", folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study whose halves both tell the class, and runs on its labels and on shuffled ones."""
    folder = tmp_path_factory.mktemp("explained")
    shuffled = np.random.default_rng(1).permutation(["LUAD", "LUSC"] * (N_CASES // 2))
    sites = [f"=site{case % 3}" for case in range(N_CASES)]
    make_study(
        folder,
        n_cases=N_CASES,
        n_genes=N_GENES,
        image_signal=0.9,
        n_patches=(11, 17),
        obs={"shuffled": shuffled, "site": sites},
    )
    placed(folder / "features")
    text = settings().replace("epochs = 3", "epochs = 9")
    (folder / "tiny.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--from", "none")
        for name, label in (("run", "label"), ("shuffled", "shuffled")):
            done = gimp("finetune", *options, "--label-key", label, "-o", name)
            assert done.exit_code == 0, done.output
        parts = {row["case_id"]: row["split"] for row in read_csv(Path("run/splits.csv"))}
        only([case_id for case_id, part in parts.items() if part == "test"][:4], Path("few"))
    return folder


@pytest.fixture
def study(trained, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    folder = tmp_path / "study"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("gimp_plugin.studies.explanation.run.SlideReaders", BorrowedReaders)
    return folder


@pytest.fixture(scope="module")
def explained(trained):
    """The folder with explanations of both runs, and of the first beside the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        for name in ("run", "shuffled"):
            left = ("faithfulness", "occlusion", "tsne", "umap", "pictures")
            more = tuple(word for one in left for word in ("--skip", one))
            more = more if name == "shuffled" else ("--model", "shuffled", "--site-key", "site")
            options = ("--split", "test", "--format", "csv", "-o", f"why-{name}")
            done = explain("--model", name, *options, *more, speed=SMALL)
            assert done.exit_code == 0, done.output
    return trained


def kinds_of(path):
    """Which patches of a bag are of the second kind, which the second class has more of."""
    features = read_features(read_info(path)).astype(float)
    return features @ np.linspace(1, -1, FEATURE_DIM) > 0


def gene_precision(folder):
    top = [row["gene_id"] for row in read_csv(folder / "genes.csv")][: len(INFORMATIVE)]
    return len(INFORMATIVE.intersection(top)) / len(INFORMATIVE)


def largest(folder):
    return abs(float(read_csv(folder / "genes.csv")[0]["mean_explained"]))


def patch_precision(folder, why):
    """Share of the k highest patches that speak for the class, k being how many there are."""
    found = []
    for row in read_csv(why / "cases.csv"):
        kinds = kinds_of(folder / "features" / f"{row['case_id']}.h5")
        wanted = kinds if row["explained"] == "LUSC" else ~kinds
        with h5py.File(why / "patches" / f"{row['case_id']}.h5") as file:
            order = np.argsort(-file["attribution"][()])
        if 0 < wanted.sum() < len(wanted):
            found.append(wanted[order[: wanted.sum()]].mean())
    return np.mean(found)


def test_planted_genes_and_patches_are_found_and_with_shuffled_labels_are_not(explained):
    assert gene_precision(explained / "why-run") >= 0.8
    assert patch_precision(explained, explained / "why-run") > 0.85
    assert gene_precision(explained / "why-shuffled") <= 0.6
    assert patch_precision(explained, explained / "why-shuffled") < 0.6
    assert largest(explained / "why-shuffled") < 0.3 * largest(explained / "why-run")
    measured = json.loads((explained / "why-run" / "faithfulness.json").read_text())
    assert measured["insertion_attribution"]["low"] > 0
    assert measured["deletion_attribution"]["low"] > 0


def means_of_classes(run):
    """Standardised genes of the training cases of each class, the long way."""
    parts = {row["case_id"]: row["split"] for row in read_csv(run / "splits.csv")}
    genes = [row["id"] for row in read_csv(run / "genes.csv")]
    adata = anndata.read_h5ad(run.parent / "genes.h5ad")[:, genes]
    train = np.array([parts.get(name) == "train" for name in adata.obs_names])
    values = np.asarray(adata.X, float)
    scaled = (values - values[train].mean(axis=0)) / values[train].std(axis=0)
    labels = adata.obs["label"].to_numpy()
    return [scaled[train & (labels == name)].mean(axis=0) for name in ("LUAD", "LUSC")]


def test_genes_are_compared_with_training_cases_of_the_other_class_alone(explained):
    adata = anndata.read_h5ad(explained / "why-run" / "genes.h5ad")

    luad, lusc = means_of_classes(explained / "run")

    assert list(adata.var_names) == [row["id"] for row in read_csv(explained / "run/genes.csv")]
    assert np.allclose(adata.varm["reference"], np.stack([lusc, luad], axis=1), atol=1e-5)
    assert adata.uns["gimp"]["gene_reference"] == "other"
    assert not np.allclose(adata.layers["class_0"], -adata.layers["class_1"], atol=0.05)
    record = json.loads((explained / "why-run/explanation.json").read_text())
    assert [name for name, _ in record["made_from"]["gene_references"]] == ["other", "other"]


def test_a_gene_that_was_not_measured_adds_nothing_and_an_older_run_compares_with_the_mean(
    explained, caplog
):
    record = read_run(explained / "run")
    ids = [row["id"] for row in record.gene_rows]
    cohort = cohort_in_memory(np.ones((2, N_GENES - 1)), gene_ids=ids[1:])
    older = [{name: row[name] for name in COLUMNS} for row in record.gene_rows]

    (found,) = references_of([record], cohort, ExplainConfig())
    asked = references_of([record], cohort, ExplainConfig(gene_reference="mean"))
    assert not caplog.messages
    runs = [record, replace(record, gene_rows=tuple(older))]
    fallen = references_of(runs, cohort, ExplainConfig())

    assert not found[:, 0].any()
    assert found[:, 1:].all()
    assert asked == [None]
    assert fallen == [None, None]
    (said,) = caplog.messages
    assert "--gene-reference mean" in said


def test_every_file_says_what_it_should(explained):
    why = explained / "why-run"
    cases = read_csv(why / "cases.csv")
    halves = {row["case_id"]: row for row in read_csv(why / "modalities.csv")}
    adata = anndata.read_h5ad(why / "genes.h5ad")
    embedded = anndata.read_h5ad(why / "embeddings.h5ad")

    parts = {row["case_id"]: row["split"] for row in read_csv(explained / "run" / "splits.csv")}
    tested = {case_id for case_id, part in parts.items() if part == "test"}
    assert {row["case_id"] for row in cases} == set(adata.obs_names) == tested
    for row in cases:
        own = halves[row["case_id"]]
        gained = float(own["log_odds_both"]) - float(own["log_odds_none"])
        shares = float(own["shapley_slides"]) + float(own["shapley_genes"])
        assert shares == pytest.approx(gained)
        assert float(own["log_odds_both"]) == float(row["log_odds"])
    assert adata.shape == (len(tested), N_GENES)
    assert np.abs(adata.obs["completeness_error"]).max() < 0.5  # with 9 points
    assert np.allclose(
        adata.obsm["groups_class_1"].sum(axis=1), adata.layers["class_1"].sum(axis=1), atol=1e-4
    )
    assert embedded.obsm["X_gimp"].shape[0] == embedded.obsm["X_tsne"].shape[0] == len(tested)
    assert embedded.obsm["X_umap"].shape == (len(tested), 2)
    assert np.isfinite(embedded.obsm["X_umap"]).all()
    assert set(embedded.obs["site"]) <= {"=site0", "=site1", "=site2"}
    for kind in ("tsne", "umap"):
        assert (why / f"embedding_{kind}.svg").stat().st_size > 1000


def test_stability_is_the_agreement_with_what_the_other_run_says_alone(
    explained, tmp_path, monkeypatch
):
    monkeypatch.chdir(explained)
    why, alone = explained / "why-run", tmp_path / "alone"
    same = [row["case_id"] for row in read_csv(why / "cases.csv")]
    only(same, tmp_path / "same")
    cohort = ("--adata", tmp_path / "same" / "genes.h5ad", "--features", tmp_path / "same")
    more = ("--skip", "occlusion", "--skip", "pictures", "--model", "shuffled", "-o", alone)
    done = gimp("explain", *cohort, *FEW, *SMALL, "--format", "csv", *more)
    assert done.exit_code == 0, done.output
    targets = [{row["case_id"]: row["explained"] for row in read_csv(one / "cases.csv")}
               for one in (why, alone)]  # fmt: skip
    genes = [anndata.read_h5ad(one / "genes.h5ad") for one in (why, alone)]
    places = {name: place for place, name in enumerate(genes[1].uns["gimp"]["classes"])}
    theirs = {  # what the other run says of the class that the first explains
        name: genes[1][name].layers[f"class_{places[target]}"].ravel()
        for name, target in targets[0].items()
    }
    (whole,) = read_csv(why / "gene_stability.csv")

    for row in read_csv(why / "faithfulness.csv"):
        name = row["case_id"]
        sign = 1 if targets[0][name] == targets[1][name] else -1  # of two classes
        patches = []
        for one in (why, alone):
            with h5py.File(one / "patches" / f"{name}.h5") as file:
                patches.append({kind: file[kind][()] for kind in ("attention", "attribution")})
        for kind, way in (("attention", 1), ("attribution", sign)):
            expected = spearmanr(patches[0][kind], way * patches[1][kind]).statistic
            assert float(row[f"stability_{kind}"]) == pytest.approx(expected, abs=1e-6)
        values = [genes[0][name].X.ravel(), theirs[name]]
        expected = spearmanr(*values).statistic
        assert float(row["stability_genes"]) == pytest.approx(expected, abs=1e-6)
        same = np.abs(values[0]).argmax() == np.abs(values[1]).argmax()  # a tenth of 17 genes is 1
        assert float(row["stability_top_genes"]) == same
    means = [np.abs(one.mean(axis=0)) for one in (genes[0].X, np.stack([*theirs.values()]))]
    assert float(whole["spearman"]) == pytest.approx(spearmanr(*means).statistic)
    assert float(whole["overlap_top"]) == (means[0].argmax() == means[1].argmax())
    assert float(whole["overlap_by_chance"]) == pytest.approx(1 / N_GENES)
    counts = {row["gene_id"]: int(row["n_runs_top"]) for row in read_csv(why / "genes.csv")}
    tops = [genes[0].var_names[mean.argmax()] for mean in means]
    assert counts == {name: tops.count(name) for name in counts}


def test_scores_stand_beside_their_places_with_ranks_in_slide_and_cohort(explained):
    why = explained / "why-run"
    every = []
    for path in sorted((why / "patches").glob("*.h5")):
        with h5py.File(path) as file:
            every.append({name: file[name][()] for name in file})
    name = min((why / "patches").glob("*.h5")).stem
    rows = read_csv(why / "patches" / f"{name}.csv")

    cohort = rankdata(np.concatenate([one["attribution"] for one in every]))
    cohort /= len(cohort)
    assert np.allclose(np.concatenate([one["attribution_cohort"] for one in every]), cohort)
    for one in every:
        ranks = rankdata(one["attention"]) / len(one["attention"])
        assert np.allclose(one["attention_slide"], ranks)
    corners = read_coords(read_info(explained / "features" / f"{name}.h5"))
    assert np.array_equal(every[0]["coords"], corners)
    assert [float(row["occlusion"]) for row in rows] == pytest.approx(every[0]["occlusion"])
    assert list(rows[0])[:2] == ["x", "y"]


def test_the_same_command_does_nothing_and_a_new_folder_gets_the_same_bytes(study):
    options = (*FEW_CASES, "--model", "run")
    explain(*options, "-o", "one")
    before = contents(study / "one")

    again = explain(*options, "-o", "one")
    explain(*options, "-o", "two")

    assert "nothing to do" in again.stdout
    assert contents(study / "one") == before
    assert contents(study / "two") == before


def test_an_interrupted_command_goes_on_with_the_cases_that_are_done(study, monkeypatch):
    from gimp_plugin.studies.explanation.compute import Explainer

    options = (*FEW_CASES, "--model", "run")
    explain(*options, "-o", "whole")
    explained, ask = [], Explainer.of

    def stop_at_the_third(self, case):
        if len(explained) == 2:
            raise KeyboardInterrupt
        explained.append(case.case_id)
        return ask(self, case)

    monkeypatch.setattr(Explainer, "of", stop_at_the_third)
    assert explain(*options, "-o", "cut").exit_code != 0
    monkeypatch.setattr(Explainer, "of", lambda self, case: explained.append("") or ask(self, case))
    done = explain(*options, "-o", "cut")

    assert done.exit_code == 0
    assert len(explained) == len(read_csv(Path("whole/cases.csv"))) == 4
    assert contents(study / "cut") == contents(study / "whole")


def test_maps_are_drawn_on_slides_and_no_patient_is_named(study):
    name, part = next(
        (row["case_id"], row["split"])
        for row in read_csv(Path("run/splits.csv"))
        if row["split"] != "train"
    )
    slide = study / PATIENT / f"{name}.svs"
    make_slide(slide, (1100, 900))
    title, named = b"Aperio Image Library v11.2.1", b"|Patient = ERIKA MUSTERMANN|"
    slide.write_bytes(slide.read_bytes().replace(title, named))
    truth = study / "truth"
    truth.mkdir()
    n_patches = read_info(study / "features" / f"{name}.h5").n_patches
    np.save(truth / f"{name}.npy", np.arange(n_patches) % 3 == 0)

    options = ("--slides", PATIENT, "--truth", "truth", "--split", part)
    formats = ("--format", "geojson", "--format", "store")
    done = explain("--model", "run", *options, *formats, "-o", "why", speed=DRAWN)

    assert done.exit_code == 4  # the other slides are not there
    made = sorted(path.name for path in (study / "why/pictures").glob(f"{name}_*"))
    kinds = ("attention", "attribution", "occlusion", "patches")
    assert made == [f"{name}_{kind}.png" for kind in kinds]
    assert {row["stage"] for row in read_csv(Path("why/failures.csv"))} == {"pictures"}
    assert name not in {row["item"] for row in read_csv(Path("why/failures.csv"))}
    assert any(row.get("auc_attribution_abs") for row in read_csv(Path("why/faithfulness.csv")))
    for path in (study / "why").rglob("*"):
        assert "MUSTERMANN" not in path.name
        assert path.is_dir() or b"MUSTERMANN" not in path.read_bytes()
    geojson = json.loads((study / f"why/patches/{name}.geojson").read_text())
    measured = geojson["features"][0]["properties"]["measurements"]
    assert {"attention", "attribution", "occlusion", "score"} <= measured.keys()


def test_hostile_names_come_out_harmless(study):
    names = {"P00": "../../up", "P01": "=cmd()", "P02": "<script>"}
    adata = anndata.read_h5ad("genes.h5ad")
    adata.obs_names = [names.get(name, name) for name in adata.obs_names]
    adata.write_h5ad("genes.h5ad")
    rows = [f'{slide},"{case}"' for slide, case in names.items()]
    others = [f"{name},{name}" for name in adata.obs_names if name.startswith("P")]
    Path("table.csv").write_text("\n".join(["slide_id,case_id", *rows, *others]))
    before = {path.name for path in study.parent.iterdir()}

    done = explain(
        *("--model", "run", "--features", "features", "--slide-table", "table.csv"),
        *("--split", "new", "-o", "why"),
    )

    assert done.exit_code == 0, done.output
    assert {path.name for path in study.parent.iterdir()} == before
    text = Path("why/cases.csv").read_text()
    assert "'=cmd()" in text
    assert {f"{file_name(name)}.h5" for name in names.values()} <= {
        path.name for path in Path("why/cases").iterdir()
    }
    assert not [path for path in Path("why").rglob("*") if set("<>=/") & set(path.name)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model", "gone"), 3, "'gone' does not exist"),
        (("--model", "run", "--model", "run"), 2, "a run is given twice"),
        (("--model", "run", "--class", "LUSK"), 2, "did you mean 'LUSC'?"),
        (("--model", "run", "--site-key", "sit"), 3, "no column 'sit', did you mean 'site'?"),
        (("--model", "run", "--truth", "features"), 3, "no truth for any of 34 slides"),
        (("--model", "run", "--truth", "gone"), 3, "no folder 'gone'"),
        (("--model", "run", "--slides", "gone"), 3, "no slide or folder 'gone'"),
        (("--model", "run", "--slides", "genes.h5ad"), 3, "holds none of 34 slides"),
        (("--model", "run", "--gene-sets", "gone.gmt"), 3, "'gone.gmt'"),
        (("--model", "run", "--gene-sets", "tiny.toml"), 3, "'tiny.toml', line 1"),
        (("--model", "run", "--split", "new"), 3, "none of 34 cases is of the split new"),
        (("--model", "run", "--steps", 0), 2, "n_steps = 0 is out of range"),
        (("--model", "run", "--gene-reference", "others"), 2, "Did you mean 'other'?"),
        (("--model", "run", "-o", "genes.h5ad"), 2, "is a file, expected a folder"),
        (("--model", "run", "--features", "gone"), 3, "no folder of features at 'gone'"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_any_work(study, arguments, code, words):
    assert words in refused(study, code, "explain", "--adata", "genes.h5ad", *arguments)


def test_a_pretrained_run_is_refused(study):
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)
    assert gimp("pretrain", *options, "-o", "pre").exit_code == 0

    said = refused(study, 3, "explain", "--adata", "genes.h5ad", "--model", "pre")

    assert "'pre' is a pretrain run: it has no trained classifier" in said


def test_a_folder_of_somebody_else_and_one_of_other_settings_are_refused(study):
    Path("theirs").mkdir()
    Path("theirs/thesis.txt").write_text("mine")
    options = (*FEW_CASES, "--model", "run")
    explain(*options, "-o", "why")

    said = refused(study, 3, "explain", *options, "-o", "theirs")
    changed = refused(study, 3, "explain", *options, "-o", "why")
    mean = ("--gene-reference", "mean")
    compared = refused(study, 3, "explain", *options, *QUICK, *mean, "-o", "why")
    placed(Path("few"), first=1)
    moved = refused(study, 3, "explain", *options, *QUICK, "-o", "why")
    placed(Path("few"))
    kept = {path: path.stat().st_mtime_ns for path in Path("why/cases").iterdir()}
    done = explain(*options, "--format", "csv", "--overwrite", "-o", "why")

    assert "'thesis.txt'" in said
    assert "made from other inputs: " in changed
    assert "'settings." in changed
    assert "'settings.gene_reference: " in compared
    assert "'places: " in moved
    assert done.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in Path("why/cases").iterdir()} == kept
    assert not list(Path("why/patches").glob("*.geojson"))
    assert len(list(Path("why/patches").glob("*.csv"))) == len(kept)

    other = anndata.read_h5ad("why/genes.h5ad")
    done = explain(*options, *mean, "--overwrite", "-o", "why")
    assert done.exit_code == 0
    adata = anndata.read_h5ad("why/genes.h5ad")
    assert adata.uns["gimp"]["gene_reference"] == "mean"
    assert not adata.varm["reference"].any()
    assert np.allclose(adata.layers["class_0"], -adata.layers["class_1"])
    assert not np.allclose(adata.X, other.X, atol=0.05)


def test_a_damaged_bag_is_left_out_and_told_of(study):
    name = next(
        row["case_id"] for row in read_csv(Path("run/splits.csv")) if row["split"] == "test"
    )
    path = study / "features" / f"{name}.h5"
    with h5py.File(path, "r+") as file:
        start = file["features"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[start + 5] ^= 0xFF
    path.write_bytes(data)

    done = explain("--model", "run", "--split", "test", "-o", "why")

    assert done.exit_code == 4
    (failure,) = read_csv(Path("why/failures.csv"))
    assert (failure["item"], failure["stage"]) == (name, "explain")
    assert str(study) not in failure["message"]
    assert name not in {row["case_id"] for row in read_csv(Path("why/cases.csv"))}


def test_bags_without_places_and_a_run_of_slides_only_have_scores_and_no_maps(study):
    for path in Path("features").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            features = file["features"][()]
        path.unlink()
        with h5py.File(path, "w") as file:
            file["features"] = features
    options = ("--config", "tiny.toml", "--from", "none", "--modalities", "slides", "--epochs", 1)
    assert gimp("finetune", "--adata", "genes.h5ad", *options, "-o", "image").exit_code == 0

    done = explain("--model", "image", "--split", "test", "-o", "why", speed=DRAWN)

    assert done.exit_code == 0, done.output
    assert "without a map, because the positions of the patches are unknown" in done.stderr
    assert not Path("why/pictures").exists()
    assert not Path("why/modalities.csv").exists()
    assert not Path("why/genes.csv").exists()
    with h5py.File(next(Path("why/patches").glob("*.h5"))) as file:
        assert set(file) == {
            f"{name}{rank}"
            for name in ("attention", "attribution", "occlusion")
            for rank in ("", "_slide", "_cohort")
        }
