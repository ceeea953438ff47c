"""The order of the genes from the command line to the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.errors import PluginError
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training.grouping import grouped
from tests.plugin_factory import installing
from tests.study_factory import make_study

SETTINGS = """
[model]
dim = 8
n_heads = 2
[genes]
epochs = 1
[finetune]
epochs = 1
"""


@pytest.fixture
def finetune(tmp_path, monkeypatch):
    """Fine-tune on genes with one more option; give what click saw and the genes of the run."""
    make_study(tmp_path, n_cases=20, n_genes=13)
    (tmp_path / "tiny.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)

    def call(grouping, output, *options, start="genes"):
        words = ["finetune", "--adata", "genes.h5ad", "--from", start, "--modalities", "genes"]
        words += ["--config", "tiny.toml", "--gene-grouping", grouping, "-o", output, *options]
        result = CliRunner().invoke(cli, words)
        table = tmp_path / output / "genes.csv"
        genes = [row["id"] for row in read_csv(table)] if table.exists() else []
        return result, genes

    return call


def test_gene_sets_of_a_file_decide_the_order_of_the_run(finetune, tmp_path):
    (tmp_path / "sets.gmt").write_text("one\tx\tG007\tG003\ntwo\tx\tG003\tG011\n")

    _, by_set = finetune("gmt:sets.gmt", "by-set")
    _, by_file = finetune("file-order", "by-file")

    assert by_set[:3] == ["G007", "G003", "G011"]
    assert by_set[3:] == [gene for gene in by_file if gene not in by_set[:3]]
    assert by_file == [f"G{gene:03d}" for gene in range(13)]


def test_another_content_of_the_same_file_of_sets_makes_another_run(finetune, tmp_path):
    (tmp_path / "sets.gmt").write_text("one\tx\tG007\tG003\n")
    finetune("gmt:sets.gmt", "run")
    again, _ = finetune("gmt:sets.gmt", "run")
    (tmp_path / "sets.gmt").write_text("one\tx\tG003\tG007\n")

    other, genes = finetune("gmt:sets.gmt", "run")

    assert "nothing to do" in again.output
    assert other.exit_code == 3
    assert genes[:2] == ["G007", "G003"]


def test_the_same_sets_in_another_folder_make_the_same_run(finetune, tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sets.gmt").write_text("one\tx\tG007\tG003\n")
    finetune(f"gmt:{tmp_path}/one/sets.gmt", "run")

    again, _ = finetune("gmt:other/sets.gmt", "run")
    on, _ = finetune("gmt:other/sets.gmt", "on", start="run")

    assert "nothing to do" in again.output
    assert on.exit_code == 0, on.output
    for name in ("run", "on"):
        assert "gmt:sets.gmt" in (tmp_path / name / "config.json").read_text()


def test_the_order_by_coexpression_is_a_permutation_that_repeats(finetune):
    _, first = finetune("coexpression", "first")
    _, second = finetune("coexpression", "second")

    assert first == second
    assert first != sorted(first)
    assert sorted(first) == [f"G{gene:03d}" for gene in range(13)]


@pytest.mark.parametrize(
    ("grouping", "code", "words"),
    [
        ("chromosme", 2, "did you mean 'chromosome'"),
        ("chromosome", 3, "column 'chromosome'"),
        ("gmt:none.gmt", 3, "none.gmt"),
        ("gmt", 2, "gmt:FILE"),
        ("random:3", 2, "takes no argument"),
    ],
)
def test_an_order_that_cannot_be_had_is_refused_before_anything_is_written(
    finetune, tmp_path, grouping, code, words
):
    result, _ = finetune(grouping, "run")

    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_gone_on_with_keeps_its_order(finetune, tmp_path):
    finetune("random", "start")

    result, _ = finetune("file-order", "next", start="start")

    assert result.exit_code == 2
    assert "gene_grouping 'random' -> 'file-order'" in result.output


PLUGIN = """
    import numpy as np
    from gimp_plugin.plugins import hookimpl

    def backwards(gene_ids, *, seed, genes, expression, **context):
        genes["x"], expression[:] = 1, 0
        return np.arange(len(gene_ids))[::-1]

    def names(gene_ids, **context):
        return sorted(gene_ids)

    def none(gene_ids, **context):
        return None

    def pathway(gene_ids, *, genes, **context):
        return genes["pathway"]

    def few(gene_ids, seed):
        return range(len(gene_ids))

    @hookimpl
    def gimp_components():
        names = ("backwards", "names", "none", "pathway", "few")
        return [("gene-grouping", name, f"their_plugin:{name}", "") for name in names]
"""


def test_what_a_plugins_grouping_does_wrong_is_told_with_its_name(tmp_path):
    genes = pd.DataFrame(index=list("abc"))
    given = {"seed": 0, "genes": genes, "expression": np.ones((4, 3), np.float32)}
    faults = {
        "names": "gave no order of 3 genes: each index from 0 must occur once",
        "none": "gave no order of 3 genes",
        "pathway": "failed: KeyError: 'pathway'",
        "few": r"failed: TypeError: .*called with \(gene_ids, seed=, genes=",
    }

    with installing(tmp_path) as install:
        install("their-plugin", PLUGIN, entry="theirs")
        for name, message in faults.items():
            who = f"gene-grouping '{name}' of plugin 'theirs' of their-plugin 2.1 "
            with pytest.raises(PluginError, match=who + message):
                grouped(name, "abc", **given)
        assert grouped("backwards", "abc", **given).tolist() == [2, 1, 0]
    assert list(genes.columns) == []
    assert given["expression"].all()
