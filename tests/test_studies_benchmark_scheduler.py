"""`gimp benchmark --scheduler`: one comparison by workers of dask."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import distributed  # its defaults, before any is changed
import pytest

from gimp_plugin import cluster
from gimp_plugin.config import Runtime, load_preset
from gimp_plugin.errors import ResourceError
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark import Protocol, Shard, run, workers
from gimp_plugin.studies.benchmark.cells import Method
from gimp_plugin.studies.benchmark.design import cells_of, designed
from gimp_plugin.studies.benchmark.folder import Place, claim, seal
from gimp_plugin.studies.benchmark.methods import METHODS
from gimp_plugin.studies.benchmark.shards import working
from gimp_plugin.studies.benchmark.work import cost, do
from gimp_plugin.studies.benchmark.workers import Job, do_cell, with_absolute_paths
from gimp_plugin.training.plan import without_folder
from tests.benchmark_factory import benchmark, epochs, files, tables
from tests.forkserver import FORKED  # noqa: F401  # workers are forked from what it has imported
from tests.study_factory import make_study

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.enable_socket,  # dask's own, on this machine
    pytest.mark.filterwarnings("default"),  # dask's own, and of multiprocessing at its end
]
N_CASES = 16
QUICK = ("--methods", "logistic-genes,logistic-bag", "--fold", 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    return make_study(folder, n_cases=N_CASES, n_patches=(3, 9), obs={"fold": fold})


@pytest.fixture
def near(source, monkeypatch):
    """The same by relative paths."""
    monkeypatch.chdir(source.adata.parent)
    return replace(source, adata=Path(source.adata.name), features=Path(source.features.name))


@pytest.fixture(scope="module")
def quick(source, tmp_path_factory):
    """Folder of a comparison by one process."""
    output = tmp_path_factory.mktemp("quick") / "study"
    assert benchmark(source, output, *QUICK).exit_code == 0
    return output


def deadly(marker):
    """What a worker does, but that it dies of one cell always, and in another's training once."""

    def do_deadly(job, place):
        from gimp_plugin.studies.benchmark import workers  # the worker's own
        from gimp_plugin.training import loop

        os.chdir("/")
        if place.method == "logistic-genes":
            os.kill(os.getpid(), signal.SIGKILL)
        if place.method == "abmil" and not marker.exists():
            marker.touch()
            save = loop.save_checkpoint

            def save_and_die(*arguments):
                save(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

            loop.save_checkpoint = save_and_die
        return workers.do_cell(job, place)

    return do_deadly


@pytest.mark.slow
def test_workers_may_die_and_the_end_has_the_bytes_of_one_process(near, tmp_path, monkeypatch):
    output, words = tmp_path / "s", ("--methods", "late-fusion", "--fold", 0)
    settings = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.scheduler.allowed-failures": 0,
    }
    with monkeypatch.context() as patched, dask.config.set(settings):
        patched.setattr(distributed.utils, "_forkserver_preload_set", True)  # ours stays
        patched.setattr(workers, "do_cell", deadly(tmp_path / "died"))
        patched.setattr(cluster, "CLOSE_S", 3.0)  # a dead worker may be in the middle of a restart
        partly = benchmark(near, output, *words, "--scheduler", "local:2")
    failed = read_csv(output / "failures.csv")

    ended = benchmark(near, output, *words)
    whole = benchmark(near, tmp_path / "whole", *words)

    assert [one.exit_code for one in (partly, ended, whole)] == [4, 0, 0], partly.stderr
    assert "abmil, fold 0, seed 0: done in " in partly.stderr
    assert (tmp_path / "died").exists()
    items = ["logistic-genes, fold 0, seed 0", "late-fusion, fold 0, seed 0"]
    assert [row["item"] for row in failed] == items
    assert failed[0]["error"] == "KilledWorker"
    assert "every worker that tried it died" in failed[0]["message"]
    assert failed[1]["message"] == f"it needs the predictions of {items[0]}, which failed"
    assert not (output / "failures.csv").exists()
    assert tables(output) == tables(tmp_path / "whole")
    assert epochs(output) == epochs(tmp_path / "whole")  # none of them twice
    assert results(output) == results(tmp_path / "whole")


def results(output):
    """Files that are the same however the cells were done."""
    ends = ("predictions.csv", ".safetensors", "config.json", "metrics.json")
    return {
        name: content
        for name, (content, _) in files(output / "cells").items()
        if name.endswith(ends)
    }


def test_an_interrupted_comparison_goes_on_and_ends_with_the_same_tables(
    source, quick, tmp_path, monkeypatch, threads
):
    note, words = run._note, (*QUICK, "--scheduler", threads.scheduler_address)

    def interrupt(cell, failure):
        note(cell, failure)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "_note", interrupt)
        stopped = benchmark(source, tmp_path / "s", *words)
    ended = benchmark(source, tmp_path / "s", *words)
    before = files(tmp_path / "s")
    threads_gone = "tcp://127.0.0.1:9"
    again = benchmark(source, tmp_path / "s", *QUICK, "--scheduler", threads_gone)

    assert [one.exit_code for one in (stopped, ended, again)] == [130, 0, 0]
    assert again.stdout.endswith("s: nothing to do\n")  # and no scheduler is asked for
    assert files(tmp_path / "s") == before
    assert tables(tmp_path / "s") == tables(quick)
    assert results(tmp_path / "s") == results(quick)


def test_a_failing_cell_is_listed_the_rest_is_done_and_warnings_come_back(
    source, tmp_path, monkeypatch, threads
):
    def train(cell):
        if cell.place.fold == "1":
            raise RuntimeError("no\nsuch luck")
        workers.logger.warning("fold %s is windy", cell.place.fold)
        return METHODS["logistic-genes"].train(cell)

    def after(cell):
        cell.beside("broken")
        return METHODS["logistic-genes"].train(cell)

    for name, work, needs in (("broken", train, ()), ("after", after, ("broken",))):
        method = Method(name=name, summary="", train=work, needs=needs)
        monkeypatch.setitem(METHODS, name, method)
    words = ("--methods", "after", "--scheduler", threads.scheduler_address)

    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 4
    assert "2 of 4 cells failed" in result.stderr
    assert "Warning: fold 0 is windy\n" in result.stderr
    assert "ERROR: [" not in result.stderr
    rows = {row["item"]: row for row in read_csv(tmp_path / "s" / "failures.csv")}
    assert rows.keys() == {"broken, fold 1, seed 0", "after, fold 1, seed 0"}
    assert rows["broken, fold 1, seed 0"]["error"] == "RuntimeError"
    assert rows["broken, fold 1, seed 0"]["message"] == "no such luck"
    needed = "it needs the predictions of broken, fold 1, seed 0, which failed"
    assert rows["after, fold 1, seed 0"]["message"] == needed
    done = [(row["method"], row["fold"]) for row in read_csv(tmp_path / "s" / "cells.csv")]
    assert done == [("broken", "0"), ("after", "0")]


@pytest.mark.parametrize(
    ("words", "code_and_message"),
    [
        ("tcp://127.0.0.1:9", (5, "no scheduler at 'tcp://127.0.0.1:9'")),
        ("local:x", (2, "expected local:N with the number of processes")),
        ("local:2 --shard 1/2", (2, "by a scheduler or by shards, not both")),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    source, tmp_path, monkeypatch, words, code_and_message
):
    monkeypatch.setitem(cluster.CLIENT, "timeout", 1)

    result = benchmark(source, tmp_path / "s", *QUICK, "--scheduler", *words.split())

    assert result.exit_code == code_and_message[0]
    assert code_and_message[1] in result.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("busy", [None, Shard(1, 2)])
def test_the_folder_is_held_as_by_one_process(source, tmp_path, threads, busy):
    words = (*QUICK, "--scheduler", threads.scheduler_address)

    with working(tmp_path / "s", busy):
        result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 6
    assert "another process is writing to" in result.stderr
    assert not (tmp_path / "s" / "study.json").exists()


@pytest.fixture
def job(near, tmp_path):
    """What a worker is told of a comparison, whose folder is there."""
    protocol, config = Protocol(methods=("logistic-genes",)), load_preset("recommended")
    source = replace(near, splits="obs:fold")
    design = designed(source, config, protocol, runtime=Runtime())
    claim(tmp_path / "s", design.identity, overwrite=False)
    cells_of(design, design.places, output=tmp_path / "s")
    far_source, far_config = with_absolute_paths(source, config)
    return Job(
        source=far_source,
        config=far_config,
        protocol=protocol,
        runtime=Runtime(device="cpu"),
        output=tmp_path / "s",
        identity=design.identity,
    )


PLACE = Place("logistic-genes", "0", 0)


def test_a_worker_that_does_not_see_the_folder_says_so(job, tmp_path):
    with pytest.raises(ResourceError) as refused:
        do_cell(replace(job, output=tmp_path / "elsewhere"), PLACE)

    assert "a worker on " in str(refused.value)
    assert "elsewhere' holds no comparison" in str(refused.value)
    assert "must reach inputs and output under the same paths" in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": "log2"}, "its inputs differ: 'inputs.expression: "),
        ({"adata": Path("/nowhere/genes.h5ad")}, "/nowhere/genes.h5ad"),
    ],
)
def test_a_worker_that_sees_other_inputs_does_nothing(job, monkeypatch, change, message):
    monkeypatch.setattr(workers, "own_device", lambda device: device)
    before = files(job.output)

    with pytest.raises(ResourceError) as refused:
        do_cell(replace(job, source=replace(job.source, **change)), PLACE)

    assert "a worker on " in str(refused.value)
    assert message in str(refused.value)
    assert files(job.output) == before


def test_what_a_worker_cannot_see_ends_the_command(source, tmp_path, monkeypatch, threads):
    def blind(_output, _identity):
        raise FileNotFoundError(2, "No such file or directory", "/there")

    monkeypatch.setattr(workers, "check_current", blind)
    words = (*QUICK, "--scheduler", threads.scheduler_address)

    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 5
    assert "cannot take part: [Errno 2] No such file or directory: '/there'" in result.stderr
    assert not list(tmp_path.glob("s/cells/*/*/cell.json"))


def lying(job, place):
    """Stands in for a worker that writes into another folder of the same name."""
    return workers.Outcome(failure=None, seconds=0.0, warnings=())


def test_cells_that_are_done_elsewhere_are_not_believed(source, tmp_path, monkeypatch, threads):
    monkeypatch.setattr(workers, "do_cell", lying)
    monkeypatch.setattr(workers, "SEEN_S", 0.1)
    words = (*QUICK, "--scheduler", threads.scheduler_address)

    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 5
    assert "a worker did logistic-" in result.stderr
    assert "but it is not in " in result.stderr


def test_a_scheduler_that_goes_ends_the_command(source, tmp_path, monkeypatch):
    monkeypatch.setitem(cluster.CLIENT, "timeout", 1)
    note = run._note
    with distributed.LocalCluster(processes=False, n_workers=1, dashboard_address=None) as gone:

        def close(cell, failure):
            note(cell, failure)
            gone.close()

        monkeypatch.setattr(run, "_note", close)
        words = (*QUICK, "--scheduler", gone.scheduler_address)
        result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 5
    assert "the scheduler is gone" in result.stderr


def test_a_cell_that_another_process_is_at_is_waited_for(job, monkeypatch, caplog):
    (own,) = cells_of(
        designed(job.source, job.config, job.protocol, runtime=job.runtime),
        [PLACE],
        output=job.output,
    )
    with held(own.folder / ".lock"):
        waiting = threading.Thread(target=do, args=(own,))
        with caplog.at_level("INFO", "gimp_plugin"):
            waiting.start()
            while "another process is working on it; waiting" not in caplog.text:
                time.sleep(0.01)
        took = METHODS["logistic-genes"].train(own)
        seal(own.folder, PLACE, own.identity, took)
        monkeypatch.setitem(METHODS, "logistic-genes", None)  # it would fail
    waiting.join()

    assert cost(own) == took


def test_paths_are_made_absolute_and_the_comparison_stays_the_same(near, tmp_path, monkeypatch):
    genes = near.adata.absolute()
    (tmp_path / "sets.gmt").write_text("one\t\tG0\tG1\ntwo\t\tG2\n")
    (tmp_path / "splits.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    config = load_preset("recommended", {"model.gene_grouping": "gmt:sets.gmt"})

    far, told = with_absolute_paths(replace(near, adata=genes, splits="splits.csv"), config)

    assert far.splits == str(tmp_path / "splits.csv")
    assert far.features == tmp_path / near.features
    assert told.model.gene_grouping == f"gmt:{tmp_path / 'sets.gmt'}"
    assert without_folder(told) == config
