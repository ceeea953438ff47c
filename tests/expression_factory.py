"""Published expression tables in their exact layouts, including traps, and their true values."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

STAR_HEADER = (
    "gene_id", "gene_name", "gene_type", "unstranded", "stranded_first", "stranded_second",
    "tpm_unstranded", "fpkm_unstranded", "fpkm_uq_unstranded",
)  # fmt: skip
SUMMARY = ("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous")
STAR_GENES = (
    ("ENSG00000000003.15", "TSPAN6", "protein_coding"),
    ("ENSG00000002586.20", "CD99", "protein_coding"),
    ("ENSG00000002586.20_PAR_Y", "CD99", "protein_coding"),
    ("ENSG00000141510.18", "TP53", "protein_coding"),
    ("ENSG00000228572.7", "AL954722.1", "lncRNA"),
)
HTSEQ_GENES = (
    "ENSG00000000003.13", "ENSG00000002586.16", "ENSGR0000002586.16", "ENSG00000141510.15",
)  # fmt: skip
HTSEQ_SUMMARY = ("__no_feature", "__ambiguous", "__too_low_aQual", "__not_aligned")
SHEET_HEADER = (
    "File ID", "File Name", "Data Category", "Data Type", "Project ID", "Case ID", "Sample ID",
    "Sample Type",
)  # fmt: skip
TYPES = {"01": "Primary Tumor", "02": "Recurrent Tumor", "06": "Metastatic",
         "11": "Solid Tissue Normal"}  # fmt: skip
NEWER = ("Tissue Type", "Tumor Descriptor", "Specimen Type", "Preservation Method")


@dataclass(frozen=True)
class Aliquot:
    """One sequenced aliquot: its full barcode, project, and whether it is FFPE."""

    barcode: str
    project: str = "TCGA-LUAD"
    ffpe: bool = False

    @property
    def case_id(self):
        return "-".join(self.barcode.split("-")[:3])

    @property
    def sample_id(self):
        return "-".join(self.barcode.split("-")[:4])

    @property
    def code(self):
        return self.barcode.split("-")[3][:2]


ALIQUOTS = (
    Aliquot("TCGA-05-4244-01A-01R-1107-07"),
    Aliquot("TCGA-05-4249-11A-01R-1107-07"),  # normal tissue of a case that also has a tumour
    Aliquot("TCGA-05-4249-01A-01R-1107-07"),
    Aliquot("TCGA-18-3406-01A-01R-0980-07", "TCGA-LUSC"),
    Aliquot("TCGA-18-3406-01B-01R-1858-07", "TCGA-LUSC"),  # a later vial
    Aliquot("TCGA-44-2656-01B-06R-A277-07", ffpe=True),  # FFPE beside frozen
    Aliquot("TCGA-44-2656-01A-02R-A278-07"),
    Aliquot("TCGA-44-2656-01A-02R-0946-07"),  # the same vial on a lower plate
    Aliquot("TCGA-66-2766-06A-01R-0851-07", "TCGA-LUSC"),  # a metastasis only
)
CHOSEN = {
    "TCGA-05-4244": "TCGA-05-4244-01A-01R-1107-07",
    "TCGA-05-4249": "TCGA-05-4249-01A-01R-1107-07",
    "TCGA-18-3406": "TCGA-18-3406-01A-01R-0980-07",
    "TCGA-44-2656": "TCGA-44-2656-01A-02R-A278-07",
}


def file_name(number):
    """Name of the n-th STAR file, as at the GDC."""
    return f"{UUID(int=number + 1)}.rna_seq.augmented_star_gene_counts.tsv"


def star_text(seed, genes=STAR_GENES, model="GENCODE v36"):
    """A STAR file; the Y copy is 0, as at the GDC."""
    generator = np.random.default_rng(seed)
    lines = [f"# gene-model: {model}", "\t".join(STAR_HEADER)]
    lines += [
        f"{name}\t\t\t{n * 1000}\t{n * 2000}\t{n * 3000}\t\t\t" for n, name in enumerate(SUMMARY)
    ]
    for gene in genes:
        expressed = not gene[0].endswith("_PAR_Y")
        counts = generator.integers(0, 99999, 3) * expressed
        shares = np.round(generator.gamma(0.5, 80, 3), 4) * expressed
        lines.append("\t".join([*gene, *map(str, counts), *(f"{one:.4f}" for one in shares)]))
    return "\n".join(lines) + "\n"


def write_star(folder, aliquots=ALIQUOTS, *, sheet="sample_sheet", **changes):
    """Write a folder as gdc-client does, with auxiliary files and a `sheet` beside it.

    `sample_sheet` is the older kind, `newer` has preservation methods, `metadata` is a JSON file,
    `manifest` names no cases, None writes no sheet.
    """
    for number, _ in enumerate(aliquots):
        place = folder / str(UUID(int=1000 + number))
        (place / "logs").mkdir(parents=True)
        (place / file_name(number)).write_text(star_text(number, **changes))
        (place / "logs" / f"{file_name(number)}.parcel").write_bytes(b"\x80\x03")
        (place / "annotations.txt").write_text("id\tsubmitter_id\nx\ty\n")
    (folder / "x.rna_seq.augmented_star_gene_counts.tsv.partial").write_text("# gene-model")
    write_sheet(folder, [file_name(number) for number, _ in enumerate(aliquots)], aliquots, sheet)
    return folder


def write_sheet(folder, names, aliquots, kind):
    """Write the file that assigns files to samples."""
    folder.mkdir(exist_ok=True, parents=True)
    if kind == "metadata":
        entries = [
            {"file_name": name, "file_id": f"id-{name}", "associated_entities": [
                {"entity_submitter_id": one.barcode, "entity_type": "aliquot"}],
             "cases": [{"submitter_id": one.case_id, "project": {"project_id": one.project},
                        "samples": [{"sample_type": TYPES[one.code], "is_ffpe": one.ffpe}]}]}
            for name, one in zip(names, aliquots, strict=True)
        ]  # fmt: skip
        path = folder / "metadata.cart.2026-01-02.json"
        path.write_text(json.dumps(entries))
        return path
    if kind == "manifest":
        path = folder / "gdc_manifest.2026-01-02.txt"
        path.write_text(
            "id\tfilename\tmd5\tsize\tstate\n" + "".join(f"a\t{n}\tb\t1\treleased\n" for n in names)
        )
        return path
    if kind is None:
        return None
    newer = kind == "newer"
    header = (*SHEET_HEADER[:-1], *NEWER) if newer else SHEET_HEADER
    rows = [header]
    for name, one in zip(names, aliquots, strict=True):
        start = ("id", name, "Transcriptome Profiling", "Gene Expression Quantification",
                 one.project, one.case_id, one.sample_id)  # fmt: skip
        tissue = "Normal" if one.code == "11" else "Tumor"
        descriptor = {"01": "Primary", "06": "Metastatic"}.get(one.code, "Not Applicable")
        kept = "FFPE" if one.ffpe else "OCT"
        rows.append(
            (*start, tissue, descriptor, "Solid Tissue", kept)
            if newer
            else (*start, TYPES[one.code])
        )
    path = folder / "gdc_sample_sheet.2026-01-02.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def naive_star(path, column):
    """Genes and values of a STAR file, read line by line."""
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    place = rows[0].index(column)
    return {row[0]: float(row[place]) for row in rows[1:] if not row[0].startswith("N_")}


def write_htseq(folder, aliquots, *, kind="FPKM.txt"):
    """Write a folder of HTSeq files, gzip, no header; return the values of each file's rows."""
    truth, names = {}, []
    for number, one in enumerate(aliquots):
        generator = np.random.default_rng(number)
        counts = kind.endswith("counts")
        values = (
            generator.integers(0, 9999, 4) if counts else np.round(generator.gamma(0.5, 80, 4), 6)
        )
        rows = list(zip(HTSEQ_GENES, values.tolist(), strict=True))
        rows += [(name, 7 * number) for name in HTSEQ_SUMMARY] if counts else []
        name = f"{UUID(int=number + 1)}.{kind}.gz"
        place = folder / str(UUID(int=1000 + number))
        place.mkdir(parents=True, exist_ok=True)
        with gzip.open(place / name, "wt") as file:
            file.writelines(f"{gene}\t{value}\n" for gene, value in rows)
        truth[one.case_id] = np.float32(values)
        names.append(name)
    write_sheet(folder, names, aliquots, "sample_sheet")
    return truth


def table_text(corner, columns, rows, delimiter="\t"):
    """A table with names on both sides."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*corner, *columns])
    writer.writerows(rows)
    return text.getvalue()


def write_xena(path, samples, genes, values, *, corner="Ensembl_ID"):
    """Write genes by samples, gzip TSV, with the summary rows of count matrices."""
    rows = [[gene, *row] for gene, row in zip(genes, values.T.tolist(), strict=True)]
    rows.append(["__no_feature", *[1.5] * len(samples)])
    with gzip.open(path, "wt") as file:
        file.write(table_text([corner], samples, rows))
    return path


def write_cbioportal(path, samples, rows):
    """Write `Hugo_Symbol, Entrez_Gene_Id, samples`; rows of symbol, Entrez id and values."""
    path.write_text(table_text(["Hugo_Symbol", "Entrez_Gene_Id"], samples, rows))
    return path


def write_porpoise(path, rows, genes, values):
    """Write a zipped MCAT table: case, slide, class, copy number and mutation columns."""
    header = ["case_id", "slide_id", "age", "site", "survival_months", "censorship", "is_female",
              "oncotree_code", "train"]  # fmt: skip
    columns = [
        *(f"{gene}_rnaseq" for gene in genes),
        *(f"{gene}_cnv" for gene in genes),
        "TP53_mut",
    ]
    lines = [
        [case, slide, 61, site, 12.5, 0, 1.0, code, 1, *values[row], *[-1] * len(genes), 0]
        for row, (case, slide, site, code) in enumerate(rows)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.name.removesuffix(".zip"), table_text(header, columns, lines, ","))
    return path


def read_back(path: Path):
    """Read the written cohort with anndata itself."""
    import anndata

    return anndata.read_h5ad(path)
