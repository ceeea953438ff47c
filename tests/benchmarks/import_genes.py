"""Measure the time and memory of `gimp import-genes` for a folder of STAR files.

    python tests/benchmarks/import_genes.py --files 946

Writes synthetic files of 60,660 genes into a temporary folder (about 4.5 MB each), imports them in
a separate process, and compares with pandas.read_csv and concat on fewer files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_GENES = 60_660
HEADER = "\t".join(
    ["gene_id", "gene_name", "gene_type", "unstranded", "stranded_first", "stranded_second"]
    + [f"{unit}_unstranded" for unit in ("tpm", "fpkm", "fpkm_uq")]
)
SUMMARY = ("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous")
OURS = """
import logging, resource, sys
from pathlib import Path
from gimp_plugin.cohort.importing.rules import ImportRules
from gimp_plugin.cohort.importing.run import import_genes
result = import_genes([Path(sys.argv[1])], ImportRules(), output=Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result.record["n_cases"])
"""
NAIVE = """
import resource, sys
from pathlib import Path
import pandas as pd
paths = sorted(Path(sys.argv[1]).rglob("*star_gene_counts.tsv"))[: int(sys.argv[2])]
tables = [pd.read_csv(path, sep="\\t", comment="#").set_index("gene_id") for path in paths]
tables = [table.fpkm_unstranded for table in tables]
table = pd.concat(tables, axis=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, table.shape[1])
"""


def main() -> None:
    """Write files, time both ways, print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--naive-files", type=int, default=50)
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "star")
        write(source, sizes.files)
        os.sync()  # else the import waits for pending writes
        output = Path(folder, "genes.h5ad")
        ours, mib = timed(OURS, source, output)
        again, _ = timed(OURS, source, output)
        few = min(sizes.naive_files, sizes.files)
        naive, naive_mib = timed(NAIVE, source, few)
    each, naive_each = 1000 * ours / sizes.files, 1000 * naive / few
    lines = (
        f"import-genes {sizes.files} files: {ours:.1f} s, {each:.0f} ms a file, {mib:.0f} MiB",
        f"again (nothing to do): {again:.1f} s",
        f"pandas {few} files: {naive:.1f} s, {naive_each:.0f} ms a file, {naive_mib:.0f} MiB",
        f"ratio a file: {naive_each / each:.1f}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


def write(folder: Path, n_files: int) -> None:
    """Write files with ten different contents, and their sample sheet."""
    contents = [star_bytes(seed) for seed in range(min(10, n_files))]
    sheet = ["File ID\tFile Name\tProject ID\tCase ID\tSample ID\tSample Type"]
    for number in range(n_files):
        name = f"{number:08d}.rna_seq.augmented_star_gene_counts.tsv"
        place = folder / f"{number:08d}"
        place.mkdir(parents=True)
        (place / name).write_bytes(contents[number % len(contents)])
        case_id = f"TCGA-05-{number:04d}"
        sheet.append(f"id\t{name}\tTCGA-LUAD\t{case_id}\t{case_id}-01A\tPrimary Tumor")
    (folder / "gdc_sample_sheet.tsv").write_text("\n".join(sheet) + "\n")


def star_bytes(seed: int) -> bytes:
    """Content of one STAR file."""
    values = np.random.default_rng(seed).gamma(0.3, 10, N_GENES)
    lines = ["# gene-model: GENCODE v36", HEADER]
    lines += [f"{name}\t\t\t1\t1\t1\t\t\t" for name in SUMMARY]
    for gene, value in enumerate(values):
        counts = "\t".join(f"{value * factor:.0f}" for factor in (99, 50, 49))
        shares = "\t".join([f"{value:.4f}"] * 3)
        name = f"ENSG{gene:011d}.{gene % 20}"
        lines.append(f"{name}\tGENE{gene}\tprotein_coding\t{counts}\t{shares}")
    return ("\n".join(lines) + "\n").encode()


def timed(program: str, *arguments: object) -> tuple[float, float]:
    """Seconds and peak MiB of a process."""
    start = time.perf_counter()
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, float(done.stdout.split()[0])


if __name__ == "__main__":
    main()
