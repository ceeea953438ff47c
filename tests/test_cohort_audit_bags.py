"""Features that tell the class without the tumour, and faults of the folder and of splits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gimp_plugin.cohort.audit import audit
from tests.cohort_factory import make_cohort
from tests.study_factory import make_bag

N_CASES = 30
VENDOR, MPP, RESAMPLED = "scanner vendor = label", "native mpp = label", "resampled = label"
PATCHES, KIND = "patches a case = label", "slide kind = label"


def is_lusc(case):
    return case % 2 == 1


def study(folder, *, n_cases=N_CASES, n_patches=None, names=None, case_ids=None, **attributes):
    """A cohort of noise with one bag a case; attributes are functions of the case's number."""
    rng = np.random.default_rng(0)
    make_cohort(
        folder / "genes.h5ad", n_cases=n_cases, n_genes=23, declared="log", case_ids=case_ids
    )
    for case in range(n_cases):
        name = names(case) if names else f"P{case:02d}"
        size = n_patches(case) if n_patches else 20 + int(rng.integers(9))
        values = {key: value(case) for key, value in attributes.items()}
        path = folder / "features" / f"{name}.h5"
        make_bag(path, size, 0.5, rng=rng, encoder="untrained", **values)
    return folder


def check(folder, **options):
    return audit(folder / "genes.h5ad", features=folder / "features", **options)


def test_features_that_have_nothing_to_do_with_the_class_pass(tmp_path):
    found = check(study(tmp_path, vendor=lambda case: "leica" if case % 4 < 2 else "aperio"))

    assert found.findings[1:] == ()
    assert [each.check for each in found.findings] == ["class balance"]  # 15 cases a class
    assert found.of(VENDOR).verdict == "ok"
    assert found.of(PATCHES).verdict == "ok"


def test_a_vendor_that_is_the_class_is_flagged(tmp_path):
    found = check(study(tmp_path, vendor=lambda case: "leica" if is_lusc(case) else "aperio"))

    assert found.of(VENDOR).verdict == "finding"
    assert "V 1.00" in found.of(VENDOR).found
    assert "n=30" in found.of(VENDOR).found
    assert "aperio: LUAD 15; leica: LUSC 15" in found.of(VENDOR).found


def test_a_vendor_that_is_the_class_of_ten_cases_is_not_judged(tmp_path):
    vendor = study(tmp_path, n_cases=10, vendor=lambda case: "leica" if is_lusc(case) else "aperio")

    assert check(vendor).of(VENDOR).verdict == "skipped"
    assert "only 10 cases" in check(vendor).of(VENDOR).found


def test_what_no_file_says_is_skipped_with_the_reason(tmp_path):
    found = check(study(tmp_path))

    assert found.of(VENDOR).verdict == "skipped"
    assert found.of(VENDOR).found == "no file says the vendor"
    assert found.of(KIND).found == "no slide name says DX or frozen"


def test_resolution_resampling_and_size_that_go_with_the_class_are_flagged(tmp_path):
    found = check(
        study(
            tmp_path,
            slide_mpp_x=lambda case: 0.25 if is_lusc(case) else 0.5,
            resampled=lambda case: is_lusc(case) and case > 3,
            n_patches=lambda case: 20 + case % 5 + 9 * is_lusc(case),
        )
    )

    assert [found.of(name).verdict for name in (MPP, RESAMPLED, PATCHES)] == ["finding"] * 3
    assert "AUC of LUSC 0.00" in found.of(MPP).found
    assert "AUC of LUSC 1.00" in found.of(PATCHES).found


def test_diagnostic_slides_of_one_class_and_frozen_ones_of_the_other_are_flagged(tmp_path):
    def case_id(case):
        return f"TCGA-05-{case:04d}"

    def name(case):
        return f"{case_id(case)}-01{'Z-00-DX1' if is_lusc(case) else 'A-01-TS1'}"

    found = check(study(tmp_path, names=name, case_ids=[case_id(case) for case in range(N_CASES)]))

    assert found.of(KIND).verdict == "finding"
    assert found.of("slides and cases").verdict == "ok"


def test_cases_without_slides_are_named_and_compared_with_the_class(tmp_path):
    study(tmp_path)
    for case in range(1, N_CASES, 2):
        (tmp_path / "features" / f"P{case:02d}.h5").unlink()

    found = check(tmp_path)

    assert "15 of 30 cases have no slide: P01, P03, P05, P07, P09 and 10 more" in (
        found.of("slides and cases").found
    )
    assert found.of("cases without slides = label").verdict == "finding"


def test_a_damaged_file_and_a_lone_one_are_named(tmp_path):
    study(tmp_path)
    (tmp_path / "features" / "P03.h5").write_bytes(b"no HDF5")
    make_bag(tmp_path / "features" / "Q1.h5", 20, 0.5, rng=np.random.default_rng(9))

    found = check(tmp_path)

    assert "1 of 31 files cannot be used: P03" in found.of("readable features").found
    assert (
        "1 slide of cases that the cohort does not have: Q1" in found.of("slides and cases").found
    )


def test_an_empty_folder_is_a_finding(tmp_path):
    study(tmp_path)
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").mkdir()

    assert check(tmp_path).of("readable features").verdict == "finding"


def test_two_encoders_and_two_extractions_are_found(tmp_path):
    study(tmp_path, extraction_sha256=lambda case: "f00d" if case == 4 else "cafe")
    path = tmp_path / "features" / "P05.h5"
    path.unlink()
    make_bag(
        path, 20, 0.5, rng=np.random.default_rng(9), encoder="resnet50", extraction_sha256="cafe"
    )

    found = check(tmp_path)

    assert "2 kinds of features" in found.of("one encoder").found
    assert "f00d (1, P04)" in found.of("one extraction").found


def test_a_bag_of_three_patches_is_named(tmp_path):
    found = check(study(tmp_path, n_patches=lambda case: 3 if case == 6 else 20 + case))

    assert found.of("patches a slide").found.startswith("1 slide with fewer than 10 patches: P06")


@pytest.mark.parametrize("ours", [True, False])
def test_one_slide_under_two_cases_is_found_also_across_splits(tmp_path, ours):
    study(tmp_path, n_patches=lambda case: 20)
    if not ours:
        make_foreign(tmp_path / "features")
    shutil.copy(tmp_path / "features" / "P02.h5", tmp_path / "features" / "P07.h5")
    write_splits(tmp_path / "splits.csv", lambda case: ("train", "val", "test")[case % 5 // 2])

    found = check(tmp_path, splits=str(tmp_path / "splits.csv"))

    assert "1 slide under several names, 1 time under two cases: P02 = P07" in (
        found.of("duplicate slides").found
    )
    assert found.of("one sample in two parts").verdict == "ok"  # both are in val

    write_splits(tmp_path / "splits.csv", lambda case: ("train", "val", "test")[case % 6 // 2])
    found = check(tmp_path, splits=str(tmp_path / "splits.csv"))

    assert "P02 (val) = P07 (train) in fold 0 by slides" in (
        found.of("one sample in two parts").found
    )


def make_foreign(folder):
    """Leave what CLAM's layout has: features and coords, and no attribute."""
    import h5py

    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            features, coords = file["features"][:], file["coords"][:]
        with h5py.File(path, "w") as file:
            file["features"], file["coords"] = features, coords


def write_splits(path, part, *, n_cases=N_CASES, fold=None):
    rows = [
        f"P{case:02d}{'' if fold is None else f',{fold(case)}'},{part(case)}"
        for case in range(n_cases)
    ]
    header = "case_id,split" if fold is None else "case_id,fold,split"
    path.write_text("\n".join([header, *rows]) + "\n")


def splits_of(tmp_path, *, table="splits.csv", **options):
    values = np.random.default_rng(0).gamma(5, size=(N_CASES, 23))
    values[11] = values[3]
    make_cohort(tmp_path / "genes.h5ad", values=values, n_cases=N_CASES, n_genes=23, declared="log")
    found = audit(tmp_path / "genes.h5ad", splits=str(tmp_path / table), **options)
    return found.of("splits"), found.of("one sample in two parts")


def test_one_profile_in_two_parts_is_found(tmp_path):
    write_splits(tmp_path / "splits.csv", lambda case: ("train", "val", "test")[case // 10])

    usable, twins = splits_of(tmp_path)

    assert usable.verdict == "ok"
    assert "P03 (train) = P11 (val) in fold 0 by expression" in twins.found


def test_one_profile_in_one_part_is_not(tmp_path):
    write_splits(tmp_path / "splits.csv", lambda case: ("train", "val", "test")[case // 12])

    assert splits_of(tmp_path)[1].verdict == "ok"


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda case: "train" if case % 2 else "test", "the part 'val' is empty"),
        (lambda case: "val" if case % 2 else "train", "no case of class 'LUSC'"),
    ],
)
def test_splits_without_val_or_without_a_class_are_found(tmp_path, part, problem):
    write_splits(tmp_path / "splits.csv", part)

    usable, _ = splits_of(tmp_path)

    assert usable.verdict == "finding"
    assert problem in usable.found


def test_a_case_in_two_parts_is_a_finding_with_the_message_of_training(tmp_path):
    write_splits(tmp_path / "splits.csv", lambda case: ("train", "val", "test")[case // 10])
    with (tmp_path / "splits.csv").open("a") as file:
        file.write("P04,test\n")

    usable, twins = splits_of(tmp_path)

    assert "1 patient is in two parts: 'P04 (train and test)'" in usable.found
    assert twins.verdict == "skipped"


@pytest.mark.parametrize("text", ["", "case,split\nP00,train\n", None])
def test_splits_that_cannot_be_read_are_a_finding(tmp_path, text):
    if text is not None:
        (tmp_path / "splits.csv").write_text(text)

    usable, _ = splits_of(tmp_path)

    assert usable.verdict == "finding"
    assert "splits.csv" in usable.found


def test_all_folds_are_looked_at_unless_one_is_named(tmp_path):
    parts = [("train", "val", "test"), ("train", "test", "val")]
    rows = [
        f"P{case:02d},{fold},{parts[fold][case // 10] if fold else parts[0][min(2, case // 12)]}"
        for fold in (0, 1)
        for case in range(N_CASES)
    ]
    (tmp_path / "splits.csv").write_text("\n".join(["case_id,fold,split", *rows]) + "\n")

    assert "in fold 1 by expression" in splits_of(tmp_path)[1].found
    assert splits_of(tmp_path, fold="0")[1].verdict == "ok"
    assert "no fold '7'" in splits_of(tmp_path, fold="7")[0].found


def test_splits_of_clam_are_read_whether_they_name_cases_or_slides(tmp_path):
    parts = [[f"P{case:02d}" for case in range(start, start + 10)] for start in (0, 10, 20)]
    rows = [f"s{name},{name}" for names in parts for name in names]
    (tmp_path / "slides.csv").write_text("\n".join(["slide_id,case_id", *rows]) + "\n")
    for folder, start in (("cases", ""), ("slides", "s")):
        (tmp_path / folder).mkdir()
        lines = [
            ",".join(["0", *(start + name for name in row)]) for row in zip(*parts, strict=True)
        ]
        for fold in (0, 1):
            path = tmp_path / folder / f"splits_{fold}.csv"
            path.write_text("\n".join([",train,val,test", *lines]) + "\n")

    found = [
        splits_of(tmp_path, table="cases"),
        splits_of(tmp_path, table="slides", slide_table=tmp_path / "slides.csv"),
        splits_of(tmp_path, table="cases/splits_1.csv", fold="1"),
    ]

    sizes = "train 10, val 10, test 10"
    assert [usable.found for usable, _ in found] == [
        f"2 folds; {sizes} in the first",
        f"2 folds; {sizes} in the first",
        f"1 fold; {sizes}",
    ]
    assert {usable.verdict for usable, _ in found} == {"ok"}
    assert all("P03 (train) = P11 (val)" in twins.found for _, twins in found)
