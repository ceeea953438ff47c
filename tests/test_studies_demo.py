"""The demonstration: what its cohort is, and that it goes from slides to a table."""

from __future__ import annotations

import functools

import anndata
import numpy as np
import openslide
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from gimp_plugin import keys
from gimp_plugin.cli.main import cli
from gimp_plugin.errors import ResourceError, SlideError, StaleOutputError
from gimp_plugin.slides.extraction import ExtractionResult
from gimp_plugin.storage.tables import Failure
from gimp_plugin.studies import demo
from gimp_plugin.studies.demo import run_demo, tissue
from gimp_plugin.studies.demo.arms import ARMS, arm_config
from gimp_plugin.studies.demo.cohort import CLASSES, draw_patients, write_cohort
from gimp_plugin.studies.demo.genes import N_GENES, N_INFORMATIVE, draw_expression
from gimp_plugin.studies.demo.svs import write_svs

TINY = {
    "model.dim": 16,
    "model.n_heads": 2,
    "model.n_landmarks": 4,
    "genes.epochs": 1,
    "pretrain.epochs": 1,
    "finetune.epochs": 1,
}


@pytest.fixture(scope="module")
def picture():
    return tissue.h_and_e_picture()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("demo") / "cohort", n_cases=12, seed=0)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_half_tells_as_much_as_the_other_and_both_tell_more():
    patients = draw_patients(20_000, seed=0)
    label = np.array(patients.labels) == CLASSES[1]
    halves = (patients.stroma_shares, patients.activities)

    alone = [roc_auc_score(label, half) for half in halves]
    both = roc_auc_score(label, sum(half / half.std() for half in halves))

    # .819 alone and .977 together without clipping; 20,000 patients scatter by .003.
    np.testing.assert_allclose([*alone, both], [0.819, 0.819, 0.977], atol=0.01)


def test_patients_are_balanced_in_every_part():
    patients = draw_patients(60, seed=3)

    cells = list(zip(patients.labels, patients.parts, strict=True))
    assert {cell: cells.count(cell) for cell in cells} == {
        (label, part): n
        for label in CLASSES
        for part, n in ((keys.TRAIN, 15), (keys.VAL, 5), (keys.TEST, 10))
    }


def test_shuffled_labels_tell_nothing_of_the_class_and_test_labels_are_true():
    patients = draw_patients(96, seed=1)
    label, shuffled, part = (
        np.array(each) for each in (patients.labels, patients.shuffled, patients.parts)
    )

    agreement = [
        (label == shuffled)[(part == name) & (label == one)].mean()
        for name in (keys.TRAIN, keys.VAL)
        for one in CLASSES
    ]
    assert agreement == [0.5] * 4
    assert (label == shuffled)[part == keys.TEST].all()


def test_another_seed_draws_other_patients():
    assert draw_patients(24, seed=0).labels != draw_patients(24, seed=1).labels


def test_genes_follow_the_activity_and_the_others_do_not():
    rng = np.random.default_rng(0)
    activity = rng.normal(size=500)

    values = draw_expression(activity, rng=rng)

    correlation = np.abs(np.corrcoef(values.T, activity)[-1, :-1])
    assert values.shape == (500, N_GENES)
    assert values.min() >= 0
    # By chance .045; five times that is beyond every gene that does not follow.
    assert N_INFORMATIVE * 0.6 < (correlation > 0.225).sum() <= N_INFORMATIVE


def test_stroma_holds_more_collagen_than_nests(picture):
    collagen = picture[..., 0].astype(float) - picture[..., 2] > 60  # eosin pink

    regions = [
        collagen[top : bottom + tissue.FIELD, left : right + tissue.FIELD].mean()
        for (top, bottom), (left, right) in (tissue.NESTS, tissue.STROMA)
    ]

    assert regions[1] > 3 * regions[0]


def test_a_slide_of_stroma_holds_no_nests(picture, monkeypatch):
    monkeypatch.setattr(tissue, "NESTS", ((0, -1), (0, -1)))  # no corner to draw

    tissue.draw_slide(picture, stroma_share=1.0, rng=np.random.default_rng(0))

    with pytest.raises(ValueError, match="high < 0"):
        tissue.draw_slide(picture, stroma_share=0.9, rng=np.random.default_rng(0))


def test_a_slide_holds_tissue_on_glass(picture):
    slide = tissue.draw_slide(picture, stroma_share=0.5, rng=np.random.default_rng(0))

    fields = slide.reshape(tissue.GRID, tissue.FIELD, tissue.GRID, tissue.FIELD, 3)
    n_tissue = int((fields.mean(axis=(1, 3, 4)) < 225).sum())
    assert 12 <= n_tissue <= 30
    assert slide.dtype == np.uint8


def test_the_same_seed_draws_the_same_slide(picture):
    one, two = (
        tissue.draw_slide(picture, stroma_share=0.5, rng=np.random.default_rng(4)) for _ in "ab"
    )

    np.testing.assert_array_equal(one, two)


def test_another_picture_is_refused(monkeypatch):
    monkeypatch.setattr(tissue, "PICTURE", ("data", "other.png"))

    with pytest.raises(ResourceError, match=r"other\.png"):
        tissue.h_and_e_picture()


def test_a_picture_of_another_size_is_refused(monkeypatch):
    monkeypatch.setattr(tissue, "PICTURE_SHAPE", (900, 1000, 3))

    with pytest.raises(ResourceError, match="expected"):
        tissue.h_and_e_picture()


def test_openslide_takes_the_slide_for_one_of_aperio(tmp_path):
    picture = np.random.default_rng(0).integers(90, 110, (1100, 1290, 3), np.uint8)

    write_svs(tmp_path / "s.svs", picture)

    with openslide.OpenSlide(tmp_path / "s.svs") as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert slide.level_dimensions == ((1290, 1100), (322, 275))
        read = np.asarray(slide.read_region((0, 0), 0, (1290, 1100)))[..., :3].astype(float)
    assert np.abs(read - picture).mean() < 10  # JPEG


def test_equal_pictures_are_equal_bytes(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (300, 310, 3), np.uint8)

    for name in ("a.svs", "b.svs"):
        write_svs(tmp_path / name, picture)

    assert (tmp_path / "a.svs").read_bytes() == (tmp_path / "b.svs").read_bytes()


def test_the_cohort_declares_its_scale_and_that_it_is_simulated(cohort):
    adata = anndata.read_h5ad(cohort.adata)

    assert adata.shape == (12, N_GENES)
    assert adata.uns["gimp"]["scale"] == "log2"
    assert "simulated" in adata.uns["note"]
    assert list(adata.obs_names) == sorted(path.stem for path in cohort.slides.iterdir())


def test_a_cohort_that_is_there_stays_byte_for_byte(cohort):
    before = content(cohort.folder)

    write_cohort(cohort.folder, n_cases=12, seed=0)

    assert content(cohort.folder) == before


def test_a_slide_that_is_lacking_is_written_again_the_same(cohort):
    before = content(cohort.folder)
    next(iter(sorted(cohort.slides.iterdir()))).unlink()

    write_cohort(cohort.folder, n_cases=12, seed=0)

    assert content(cohort.folder) == before


def test_another_demonstration_in_the_folder_is_refused(cohort):
    with pytest.raises(StaleOutputError, match="a different demonstration"):
        write_cohort(cohort.folder, n_cases=12, seed=1)


@pytest.mark.parametrize("words", [["demo"], ["demo", "-v"]])
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, words):
    (tmp_path / "thesis.tex").write_text("mine")

    result = CliRunner().invoke(cli, [*words, str(tmp_path)])

    assert result.exit_code == 3
    assert "'thesis.tex'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_the_packages_of_the_demo_nothing_is_written(tmp_path, monkeypatch):
    from gimp_plugin.slides.encoders import own

    monkeypatch.setattr(own.importlib.util, "find_spec", lambda name: None)

    result = CliRunner().invoke(cli, ["demo", str(tmp_path / "demo")])

    assert result.exit_code == 5
    assert "pip install 'gimp-plugin[demo]'" in result.stderr
    assert not (tmp_path / "demo").exists()


def test_a_slide_that_cannot_be_read_ends_the_demonstration(cohort, monkeypatch):
    failure = Failure("DEMO-003", "read", "SlideError", "'DEMO-003.svs' is truncated")
    failed = ExtractionResult(
        output=cohort.folder, done=(), kept=(), failures=(failure,), n_patches=0, seconds=0.0
    )
    monkeypatch.setattr(demo.run, "extract_features", lambda *_, **__: failed)

    with pytest.raises(SlideError, match=r"DEMO-003\.svs"):
        run_demo(cohort.folder, n_cases=12, patch_encoder="untrained")


def test_all_arms_have_the_same_budget():
    configs = [arm_config(arm, TINY).to_dict() for arm in ARMS]

    for config in configs:
        config["model"].pop("modalities")
    assert all(config == configs[0] for config in configs)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demonstration_ends_with_a_table_and_goes_on_with_nothing_to_do(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    tiny = functools.partial(run_demo, n_cases=12, patch_encoder="untrained", changes=TINY)
    monkeypatch.setattr(demo, "run_demo", tiny)

    printed = CliRunner().invoke(cli, ["demo", str(folder)])
    before = content(folder)
    again = tiny(folder)

    table = (folder / "evaluation.md").read_text()
    assert printed.exit_code == 0
    assert printed.stdout.startswith(table)
    assert table.startswith("A demonstration, not a finding")
    assert [row.count("|") for row in table.splitlines()[2:8]] == [7] * 6
    assert "(done, " in printed.stdout
    assert "gimp pretrain --adata genes.h5ad" in printed.stdout
    assert (again.outcome, again.table) == ("nothing to do", table)
    assert list(again.evaluations) == [arm.name for arm in ARMS]
    assert {one.n_cases for one in again.evaluations.values()} == {4}
    assert content(folder) == before
