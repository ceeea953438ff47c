"""A hundred slides, thirty of them bad in fifteen ways."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.slides.diagnosis import check_file
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.test_cli_extract_features import BAD, hashes

WAYS = [name for name in BAD if "row 24" not in name and "row 11" not in name][:15]


@pytest.mark.slow
def test_of_a_hundred_slides_seventy_are_done_and_only_the_thirty_bad_are_tried_again(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    for number in range(70):
        make_slide(Path(f"slides/good-{number:02}.svs"), (290, 270), levels=(1,), seed=number)
    for number in range(30):
        BAD[WAYS[number // 2]][0](Path(f"bad-{number:02}.svs"))
        Path(f"bad-{number:02}.svs").rename(f"slides/bad-{number:02}.svs")
    before = hashes("slides")
    command = ["extract-features", "slides", "--patch-encoder", "untrained", "--patch-size", "96"]

    first = CliRunner().invoke(cli, command)
    made = hashes("features")
    looked_at = []
    monkeypatch.setattr(
        "gimp_plugin.slides.extraction.check_file",
        lambda path: looked_at.append(path.stem) or check_file(path),
    )
    second = CliRunner().invoke(cli, command)

    failed = [row["item"] for row in read_csv(Path("features/failures.csv"))]
    assert (first.exit_code, second.exit_code) == (4, 4)
    assert "70 slides done, 30 slides failed" in first.output
    assert "70 slides done before, 30 slides failed" in second.output
    assert [bag.slide_id for bag in list_bags(Path("features"))] == [
        f"good-{number:02}" for number in range(70)
    ]
    assert failed == [f"bad-{number:02}" for number in range(30)]
    assert len(looked_at) == 100
    assert hashes("features") == made
    assert hashes("slides") == before


def test_the_tasks_of_the_job_array_of_the_examples_do_all_slides(monkeypatch, tmp_path):
    """`gimp` is stood in for: it writes down what it is called with, and that is then run here."""
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    for number in range(5):
        make_slide(Path(f"slides/{number}.svs"), (290, 270), levels=(1,), seed=number)
    stand_in = tmp_path / "bin" / "gimp"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    done = []
    for task in range(3):
        told = subprocess.run(
            ["bash", Path(__file__).parents[1] / "examples" / "slurm_array.sh", "slides"],
            env={"PATH": f"{stand_in.parent}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": str(task),
                 "SLURM_ARRAY_TASK_COUNT": "3"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        command = [*told.stdout.split(), "--patch-encoder", "untrained", "--patch-size", "96"]

        result = CliRunner().invoke(cli, [*command, "--device", "cpu"])

        assert result.exit_code == 0
        done.append("patches/s" in result.output)
    assert [bag.slide_id for bag in list_bags(Path("features"))] == list("01234")
    assert sum(done) > 1
