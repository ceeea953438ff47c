from __future__ import annotations

import gzip
import logging
import os

import pandas as pd
import pytest

from gimp_plugin.cohort.grouping import gene_set_order, read_gmt
from gimp_plugin.errors import CohortError, ConfigError, MissingFileError, SafetyError


def write_gmt(path, *sets):
    text = "".join("\t".join([name, "http://x", *genes]) + "\n" for name, *genes in sets)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text)
    return path


def ordered(ids, path, **columns):
    genes = pd.DataFrame(columns, index=list(ids))
    order = gene_set_order(list(ids), seed=0, genes=genes, expression=None, argument=str(path))
    assert sorted(order.tolist()) == list(range(len(ids)))
    return [ids[gene] for gene in order]


@pytest.mark.parametrize("name", ["sets.gmt", "sets.gmt.gz"])
def test_a_gene_goes_to_the_first_set_that_names_it_and_the_rest_comes_last(tmp_path, name):
    path = write_gmt(tmp_path / name, ("two", "E", "B"), ("one", "A", "B", "F"))

    assert ordered("GFEDCBA", path) == ["E", "B", "A", "F", "G", "D", "C"]


def test_sets_may_name_genes_by_symbol_or_by_another_version_of_the_id(tmp_path):
    ids = ["ENSG00000000003.15", "ENSG00000000005.6", "ENSG00000000419.13", "ENSG00000000457.14"]
    sets = ("a", "SCYL3", "ENSG00000000419"), ("b", "ENSG00000000005.5")
    path = write_gmt(tmp_path / "sets.gmt", *sets)

    found = ordered(ids, path, gene_name=["TSPAN6", "TNMD", "DPM1", "SCYL3"])

    assert found == [ids[3], ids[2], ids[1], ids[0]]


def test_all_genes_of_one_symbol_go_to_its_set(tmp_path):
    path = write_gmt(tmp_path / "sets.gmt", ("a", "U6"), ("b", "X"))

    assert ordered("PQRS", path, gene_name=["X", "U6", "Y", "U6"]) == ["Q", "S", "P", "R"]


def test_an_exact_id_goes_before_a_symbol_of_the_same_name(tmp_path):
    path = write_gmt(tmp_path / "sets.gmt", ("a", "B"))

    assert ordered("ABC", path, gene_name=["x", "y", "B"]) == ["B", "A", "C"]


def test_few_matches_are_told_with_numbers_and_many_are_not(tmp_path, caplog):
    few = write_gmt(tmp_path / "few.gmt", ("a", "A", "p", "q", "r"))
    many = write_gmt(tmp_path / "many.gmt", ("a", "A", "B", "C", "p"))

    with caplog.at_level(logging.WARNING):
        ordered("ABCDE", many)
        assert not caplog.records
        ordered("ABCDE", few)

    assert "1 of 4 names" in caplog.text
    assert "1 of 5 genes are in a set" in caplog.text


def test_sets_of_other_genes_are_refused_with_counts_and_examples(tmp_path):
    path = write_gmt(tmp_path / "sets.gmt", ("a", "TP53", "EGFR"), ("b", "KRAS"))

    with pytest.raises(CohortError, match="0 of 3 names") as caught:
        ordered(["ENSG00000000003", "ENSG00000000005"], path)

    assert "sets.gmt" in caught.value.problem
    assert "'TP53'" in caught.value.problem
    assert "2 genes: 'ENSG00000000003'" in caught.value.problem
    assert "--gene-table" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\thttp\tA\nb\thttp\n", "line 2: 'b.thttp' names no gene"),
        (b"a\thttp\tA\n\nb http A B\n", "line 3: 'b http A B' names no gene"),
        (b"a\thttp\t\t\t\n", "line 1"),
        (b"\thttp\tA\n", "line 1: the set has no name"),
        (b"a\thttp\tA\nb\thttp\t\xff\n", "line 2: byte 0xff"),
        (b"\n\n", "no gene set"),
        (b"", "no gene set"),
    ],
)
def test_a_malformed_file_is_refused_with_the_line(tmp_path, content, message):
    path = tmp_path / "bad.gmt"
    path.write_bytes(content)

    with pytest.raises(CohortError, match=message) as caught:
        read_gmt(path)

    assert "bad.gmt" in caught.value.problem
    assert path.read_bytes() == content


def test_a_file_that_is_not_compressed_or_cut_off_is_refused(tmp_path):
    plain, cut = tmp_path / "plain.gmt.gz", tmp_path / "cut.gmt.gz"
    plain.write_text("a\thttp\tA\n")
    cut.write_bytes(gzip.compress(b"a\thttp\tA\n" * 99, mtime=0)[:-12])

    for path in (plain, cut):
        with pytest.raises(CohortError, match=f"{path.name}.*cannot be read"):
            read_gmt(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "sets.gmt")

    with pytest.raises(CohortError, match=r"sets\.gmt' is not a file"):
        read_gmt(tmp_path / "sets.gmt")


def test_a_compressed_file_that_swells_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gimp_plugin.cohort.grouping.gene_sets.MAX_BYTES", 2**20)
    path = tmp_path / "bomb.gmt.gz"
    path.write_bytes(gzip.compress(b"a\thttp\tA\n" * 2**18, mtime=0))

    with pytest.raises(SafetyError, match=r"bomb\.gmt\.gz"):
        read_gmt(path)


def test_a_missing_file_and_a_missing_name_are_told_apart(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.gmt"):
        ordered("AB", tmp_path / "nothing.gmt")
    with pytest.raises(ConfigError, match="gmt:FILE"):
        ordered("AB", "")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_bytes(b"\xef\xbb\xbfa\thttp\tB\tA\t\r\nb\t\tC\r\n")

    assert [(one.name, one.genes) for one in read_gmt(path)] == [("a", ("B", "A")), ("b", ("C",))]
