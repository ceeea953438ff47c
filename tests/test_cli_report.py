"""`gimp report`: what the page says, that it is harmless, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pytest

from gimp_plugin.storage.tables import read_csv, write_csv
from tests.study_factory import make_study, settings
from tests.test_cli_bad_cohorts import gimp, refused
from tests.test_cli_explain import placed

PATIENT = "ERIKA MUSTERMANN"
CLASSES = ('"><script>alert(1)</script>', "=cmd('x')\" onclick=\"y")
JPEG = "data:image/jpeg;base64,"
LONG = "x" * 10_000
CASES = {
    "P00": "<script>",
    "P01": "=cmd()",
    "P02": LONG,
    "P03": "\u202egnp.exe",
    "P04": "a'\"&<!--",
}
GENES = ["<svg onload=alert(1)>", "=cmd()", "g" * 10_000, "\u202egene", "http://evil.example/x"]
OURS = {
    *("html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "ul", "li", "div", "table", "caption", "thead", "tbody", "tr", "th"),
    *("td", "bdi", "details", "summary", "figure", "figcaption", "img", "svg", "g", "path", "text"),
}
SECTIONS = (
    *("warnings", "metrics", "cohort", "audit", "splits", "curves", "calibration", "confusion"),
    *("training", "embedding", "genes", "halves", "slides", "card", "provenance"),
)
N_CASES = 34


class Page(HTMLParser):
    """Elements, attributes and text of a page, and the cells of each table by its caption."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.headings, self.texts, self.ids = [], [], [], []
        self.tables, self.caption, self.open = {}, "", []
        self.feed(text)
        self.text = " ".join("".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [dict(attrs)["id"]] if "id" in dict(attrs) else []
        self.open.append(tag)
        if tag == "tr":
            self.tables[self.caption].append([])
        elif tag in {"td", "th"}:
            self.tables[self.caption][-1].append("")
        elif tag == "caption":
            self.caption = ""
        elif tag in {"h1", "h2", "h3"}:
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if tag == "caption":
            self.tables[self.caption] = []
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if "caption" in self.open:
            self.caption += data
        elif "table" in self.open and self.tables.get(self.caption) and {"td", "th"} & {*self.open}:
            self.tables[self.caption][-1][-1] += data


def page_of(path="report.html"):
    return Page(Path(path).read_text(encoding="utf-8"))


def report(*arguments):
    done = gimp("report", *arguments)
    assert done.exit_code == 0, done.output
    return page_of()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two seeds of a study whose classes, cases and genes bear hostile names, and what they say."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _make(folder)
    return folder


def _make(folder):
    make_study(folder, n_cases=N_CASES, classes=CLASSES, n_patches=(7, 9), image_signal=0.9)
    placed(folder / "features")
    adata = anndata.read_h5ad("genes.h5ad")
    slides = list(adata.obs_names)
    adata.obs_names = [CASES.get(name, name) for name in slides]
    adata.var_names = [*GENES, *adata.var_names[len(GENES) :]]
    del adata.uns["gimp"]  # so that the scale is a guess
    adata.write_h5ad("genes.h5ad")
    rows = [{"slide_id": slide, "case_id": CASES.get(slide, slide)} for slide in slides]
    write_csv(Path("slides.csv"), rows, columns=("slide_id", "case_id"))
    parts = [["val", "train", "train"][place // 2 % 3] for place in range(N_CASES)]
    parts[:6] = ["test"] * 6
    splits = [
        {"case_id": CASES.get(slide, slide), "fold": "0", "split": part}
        for slide, part in zip(slides, parts, strict=True)
    ]
    write_csv(Path("parts.csv"), splits, columns=("case_id", "fold", "split"))
    Path("tiny.toml").write_text(settings())
    cohort = ("--adata", "genes.h5ad", "--slide-table", "slides.csv", "--features", "features")
    for seed in range(2):
        options = ("--config", "tiny.toml", "--from", "none", "--splits", "parts.csv")
        _done("finetune", *cohort, *options, "--seed", seed, "-o", f"run{seed}")
        _done("predict", *cohort, "--model", f"run{seed}", "-o", f"seed{seed}.csv")
    speed = ("--steps", 2, "--regions", 2, "--format", "csv", "--skip", "umap")
    runs = ("--model", "run0", "--model", "run1")
    _done("explain", *cohort, *speed, *runs, "--split", "test", "-o", "why")
    assert list(Path("why/pictures").iterdir())


def _done(*arguments):
    done = gimp(*arguments)
    assert done.exit_code == 0, done.output


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    folder = tmp_path / "study"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


EVERYTHING = (
    *("--predictions", "seed0.csv", "--explanation", "why", "--adata", "genes.h5ad"),
    *("--features", "features", "--slide-table", "slides.csv"),
)


@pytest.fixture(scope="module")
def whole(made):
    """The page of everything there is, in a file of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        _done("report", "run0", *EVERYTHING, "-o", "../whole.html")
    return made.parent / "whole.html"


def test_hostile_names_come_out_harmless_in_every_section(whole):
    page = page_of(whole)

    assert {tag for tag, _ in page.elements} <= OURS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("href", "#").startswith("#"), tag
        assert attributes.get("src", JPEG).startswith(JPEG)
    written = whole.read_text(encoding="utf-8")
    assert "url(" not in written
    assert "@import" not in written
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in written
    # They are there, as text: nothing was harmless because it was left out.
    for name in ("<script>", "'=cmd()", "<U+202E>gnp.exe", "a'\"&<!--", "<svg onload=alert(1)>"):
        assert name in page.text
    assert "\u202e" not in written
    assert "x" * 70 not in page.text
    assert "g" * 70 not in page.text
    assert "img" in {tag for tag, _ in page.elements}
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert len(page.ids) == len(set(page.ids))
    assert {name[1:] for _, one in page.elements if (name := one.get("href"))} <= set(page.ids)
    assert page.headings == [1, *[2] * len(SECTIONS)]


def test_the_numbers_are_those_of_the_evaluation_and_of_counting(whole, study):
    page = page_of(whole)

    found = json.loads(gimp("evaluate", "seed0.csv", "--json").stdout)
    rows = [row for row in read_csv(Path("seed0.csv")) if row["split"] == "test"]
    metrics = page.tables[f"Metrics on {len(rows)} test cases"]
    for name in ("accuracy", "macro F1"):
        one = found["metrics"][name.replace(" ", "_").lower()]
        wanted = [f"{one['value']:.3f}", f"{one['low']:.3f} to {one['high']:.3f}"]
        assert [name, *wanted] in metrics
    pairs = [(row["label"], row["predicted"]) for row in rows]
    counts = [[str(pairs.count((true, called))) for called in CLASSES] for true in CLASSES]
    assert [row[1:] for row in page.tables["Cases by true and predicted class"][1:]] == counts
    behind = [rows for caption, rows in page.tables.items() if " called " in caption]
    assert sorted(len(rows) - 1 for rows in behind) == sorted(
        int(count) for row in counts for count in row if count != "0"
    )
    left, right = page.tables["Part of each case"][1:], read_csv(Path("run0/splits.csv"))
    assert sorted(row[1] for row in left) == sorted(row["split"] for row in right)
    genes = page.tables["The 17 of 17 genes with the largest mean attributions"][1:]
    top = read_csv(Path("why/genes.csv"))
    assert "from the mean of the training cases of the other classes" in page.text
    assert [row[-3] for row in genes] == [f"{float(row['mean_abs']):.4f}" for row in top]
    assert [row[-1] for row in genes] == [row["n_runs_top"] for row in top]
    (other,) = read_csv(Path("why/gene_stability.csv"))
    columns = ("spearman", "overlap_top", "overlap_by_chance")
    wanted = ["2", "17", "1", *(f"{float(other[column]):.3f}" for column in columns)]
    assert page.tables["Mean |attribution| beside that of other runs"][1:] == [wanted]
    measured = json.loads(Path("why/faithfulness.json").read_text())
    of_genes = page.tables["Whether the genes are true: means with 95 % intervals"][1:]
    assert [row[0] for row in of_genes] == sorted(name for name in measured if "genes" in name)
    for name, *cells in of_genes:
        one, sign = measured[name], "" if name.endswith("_abs") else "+"  # sizes have no sign
        told = [f"{one[end]:{sign}.3f}" for end in ("mean", "low", "high")]
        assert cells == [*told, str(one["n_cases"])]
    of_maps = page.tables["Whether the maps are true: means with 95 % intervals"][1:]
    assert "stability_attribution" in {row[0] for row in of_maps}
    assert not [row[0] for row in of_maps if "genes" in row[0]]


def test_cases_are_points_in_the_colours_of_the_page(whole, study):
    written = whole.read_text(encoding="utf-8")
    rows = read_csv(Path("why/embeddings.csv"))

    drawn = re.search(r'<svg [^>]*aria-label="t-SNE by label: .*?</svg>', written, re.DOTALL)[0]

    places = re.findall(r'class="(?:dot|dot square)" d="([^"]*)"', drawn)
    assert not [
        path for path in places[2:4] if "h0" in path
    ]  # squares: PDF draws none without length
    n_points = [path.count("M") for path in places]
    n_cases = [sum(row["label"] == f"'{name}" or row["label"] == name for row in rows)
               for name in sorted(CLASSES)]  # fmt: skip
    assert n_points == [count for each in n_cases for count in (each, 1)]  # 1 in the legend
    shown = [float(found) for path in places[::2] for found in re.findall(r"M([\d.]+) ", path)]
    ordered = sorted(rows, key=lambda row: row["label"].lstrip("'"))  # the formula's ' apart
    left = [float(row["tsne_1"]) for row in ordered]
    assert np.corrcoef(left, shown)[0, 1] > 0.9999
    assert not re.search(r'(fill|stroke)="', drawn)  # by the style sheet alone, light and dark


def test_warnings_stand_on_top(whole, study):
    metrics = json.loads(Path("run0/metrics.json").read_text())
    fitted = metrics["stages"]["finetune"]["calibration"]["fitted"]

    page = page_of(whole)

    top = page.text[page.text.index("few cases:") : page.text.index("Headline metrics", 500)]
    assert "no baseline or control to compare these figures with" in top
    assert "gimp check, " in top
    assert "the patch encoder 'untrained' is untrained" in top
    assert ("are not calibrated" in top) is not fitted
    assert page.text.index("few cases:") < 1000


def test_pre_training_that_learned_nothing_is_warned_of_as_the_training_did(study):
    cohort = ("--adata", "genes.h5ad", "--slide-table", "slides.csv", "--features", "features")
    still = ("--config", "tiny.toml", "--lr", 1e-12)  # the decoder stays at the median
    done = gimp("pretrain", *cohort, *still, "--splits", "parts.csv", "-o", "still")
    told = re.search("masked patch modeling did not beat .* learned little from it", done.stderr)

    assert told
    assert told[0] in report("still").text


def test_a_section_without_input_names_the_command(study):
    page = report("run0")

    assert page.text.count("no predictions: gimp predict") == 4
    assert page.text.count("no explanation: gimp explain") == 4
    assert "gimp check --adata FILE" in page.text
    assert "no predictions were given" in page.text
    assert "the scale of the expression is guessed: 'log'" in page.text
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)


def test_the_same_command_does_nothing_and_gives_the_same_bytes_elsewhere(whole, study):
    shutil.copy(whole, "report.html")
    before = Path("report.html").stat()

    again = gimp("report", "run0", *EVERYTHING)

    assert "nothing to do" in again.stdout  # the bytes are those that were written elsewhere
    assert Path("report.html").stat() == before


def test_no_folder_is_named(study):
    folder = study / PATIENT
    folder.mkdir()
    for name in (
        "run0",
        "why",
        "features",
        "seed0.csv",
        "seed0.csv.json",
        "genes.h5ad",
        "seed1.csv",
    ):
        shutil.move(name, folder / name)
    at = [folder / one if one in {"seed0.csv", "why", "features"} else one for one in EVERYTHING]
    relative = Path(PATIENT)
    at = [relative / one if one == "genes.h5ad" else one for one in at]
    table = folder / "seed0.csv"
    table.write_text(table.read_text().replace(",test,", ",test,", 1) + "\n")  # was changed

    report(folder / "run0", *at, "--compare", relative / "seed1.csv")

    written = Path("report.html").read_text(encoding="utf-8")
    assert "MUSTERMANN" not in written
    assert str(study) not in written
    assert "was changed after it was predicted" in written


def test_several_runs_stand_side_by_side_and_seeds_are_averaged(study):
    tables = ("--predictions", "seed1.csv", "--predictions", "seed0.csv", "--explanation", "why")

    page = report("run0", "run1", *tables)

    rows = page.tables["Runs side by side, each on its own test or new cases"][1:]
    for number, row in enumerate(rows):
        alone = json.loads(gimp("evaluate", f"seed{number}.csv", "--json").stdout)
        one = alone["metrics"]["auc"]
        assert row[0] == f"{number + 1}. run{number}"
        assert row[4] == f"{one['value']:.3f} ({one['low']:.3f}-{one['high']:.3f})"
    assert "probabilities of 2 seeds averaged" in page.text
    assert page.headings[:4] == [1, 2, 2, 2]
    assert page.text.count("no explanation: gimp explain") == 4  # run1 has none
    assert {"r1-metrics", "r2-metrics", "r1-slides"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_runs_of_other_systems_are_not_taken_together(study):
    text = Path("seed1.csv").read_text().replace(",test,", ",new,", 1)
    Path("seed1.csv").write_text(text)

    options = ("run0", "run1", "--predictions", "seed*.csv")
    page = report(*options)
    said = refused(study, 3, "report", *options, "--compare", "seed0.csv", "-o", "two.html")

    assert "Not taken together:" in page.text
    assert "share" in said


def test_a_control_is_no_seed(study):
    cohort = ("--adata", "genes.h5ad", "--slide-table", "slides.csv", "--features", "features")
    options = ("--config", "tiny.toml", "--from", "none", "--splits", "parts.csv", "--epochs", 1)
    _done("finetune", *cohort, *options, "--modalities", "genes", "--scale", "log", "-o", "half")
    _done("predict", *cohort, "--model", "half", "-o", "half.csv")
    tables = ("--predictions", "seed0.csv", "--predictions", "half.csv")

    page = report("run0", "half", *tables)
    said = refused(
        study, 2, "report", "run0", "half", *tables, "--compare", "seed1.csv", "-o", "two.html"
    )

    assert "Not taken together: they differ in more than seed and splits." in page.text
    assert "seeds averaged" not in page.text
    assert "1. run0: the scale of the expression is guessed" in page.text
    assert "2. half: the scale of the expression" not in page.text
    assert "these runs are not" in said


def test_other_systems_are_compared(study):
    shutil.copy("seed1.csv", "control.csv")

    page = report("run0", "--predictions", "seed0.csv", "--compare", "control.csv")

    assert [row[0] for row in page.tables["Systems on the same cases"]] == [
        *("system", "seed0.csv", "control.csv")
    ]
    assert "no baseline or control" not in page.text


def test_other_systems_of_one_file_name_have_the_names_that_are_given_or_numbers(study):
    for folder in ("abmil", "fusion", "mean"):
        Path(folder).mkdir()
        shutil.copy("seed1.csv", f"{folder}/predictions.csv")

    page = report(
        *("run0", "--predictions", "seed0.csv", "--compare", "gated ABMIL=abmil/*.csv"),
        *("--compare", "fusion/predictions.csv", "--compare", "mean/predictions.csv"),
    )

    names = ["gated ABMIL", "predictions.csv", "predictions.csv (2)"]
    assert [row[0] for row in page.tables["Systems on the same cases"]][2:] == names
    rows = page.tables["Differences: the evaluated system less the other"]
    assert [row[0] for row in rows][1:] == names


def test_predictions_that_name_no_run_are_taken_for_one_run_only(study):
    Path("seed0.csv.json").unlink()

    page = report("run0", "--predictions", "seed0.csv")
    said = refused(
        study, 3, "report", "run0", "run1", "--predictions", "seed0.csv", "-o", "two.html"
    )

    assert "'seed0.csv' does not say which run made it" in page.text
    assert "does not say which of the 2 runs made it" in said


def test_a_pretrained_run_and_a_bundle_have_a_report(study):
    options = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--epochs", 1)
    assert gimp("pretrain", *options, "--slide-table", "slides.csv", "-o", "pre").exit_code == 0
    assert gimp("export", "run0", "-o", "bundle", "--licence", "mit").exit_code == 0

    pretrained = report("pre", "--overwrite")
    bundle = report("bundle", "--overwrite")

    assert "pretrain: 1 epochs, epoch 1 was chosen" in pretrained.text
    assert "The run names no case." in bundle.text


def test_a_picture_that_is_none_is_left_out(study):
    for path in Path("why/pictures").iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\n<script>")

    page = report("run0", "--explanation", "why")

    assert "img" not in {tag for tag, _ in page.elements}
    assert "<script>" not in re.sub(r"<bdi>.*?</bdi>", "", Path("report.html").read_text())


def test_what_is_not_ours_is_never_replaced_and_a_page_of_other_inputs_on_request(study):
    Path("thesis.html").write_text("mine")
    report("run0")

    theirs = refused(study, 3, "report", "run0", "-o", "thesis.html", "--overwrite")
    stale = refused(study, 3, "report", "run1")
    done = gimp("report", "run1", "--overwrite")

    assert "'thesis.html' already exists and is not a gimp report" in theirs
    assert "'report.html' was made from other inputs" in stale
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gone",), 3, "'gone' does not exist"),
        (("run0", "run0"), 2, "a run is given twice"),
        (("run0", "--predictions", "gone.csv"), 3, "'gone.csv'"),
        (("run0", "--predictions", "seed1.csv"), 3, "was predicted by a run other than"),
        (("run1", "--explanation", "why"), 3, "'why' explains a run other than"),
        (("run0", "--explanation", "features"), 3, "'features' holds no explanation"),
        (("run0", *["--explanation", "why"] * 2), 2, "explain the same run"),
        (("run0", "--compare", "seed1.csv"), 2, "a run has no predictions"),
        (("run0", "--label-key", "label"), 2, "--label-key says how to read the cohort"),
        (("run0", "--adata", "gone.h5ad"), 3, "'gone.h5ad'"),
        (("run0", "-o", "features"), 2, "is a folder, expected a file"),
        (("run0", "-o", "run0/metrics.json", "--overwrite"), 3, "already exists and is not"),
        (("run0", "--pictures", "-1"), 2, "-1"),
    ],
)
def test_what_cannot_be_reported_is_refused_and_nothing_changes(
    made, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(made)

    assert words in refused(made, code, "report", *arguments)


def test_a_damaged_table_of_an_explanation_is_named(study):
    path = Path("why/genes.csv")
    head, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    place = head.split(",").index("mean_abs")
    cells[place] = "many"
    path.write_text("\n".join([head, ",".join(cells), *rest]))

    said = refused(study, 3, "report", "run0", "--explanation", "why")

    assert "column 'mean_abs' has 'many', expected a number" in said.replace("\\", "/")


def test_cases_that_the_run_was_trained_on_are_refused(study):
    table = Path("seed0.csv")
    table.write_text(table.read_text().replace(",train,", ",test,"))

    said = refused(study, 3, "report", "run0", "--predictions", "seed0.csv")

    assert "were training or validation cases" in said
