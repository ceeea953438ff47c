"""Import a source, rule by rule, and write the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gimp_plugin.cohort.importing import report
from gimp_plugin.cohort.importing.building import build_cohort
from gimp_plugin.cohort.importing.detection import open_source
from gimp_plugin.cohort.importing.files import start_of
from gimp_plugin.cohort.importing.rules import ImportRules
from gimp_plugin.cohort.importing.source import Source
from gimp_plugin.cohort.writing import read_record, write_cohort
from gimp_plugin.errors import CohortError, MissingFileError, StaleOutputError, listed
from gimp_plugin.storage.atomic import sha256_file, sha256_json

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """Result of an import.

    Parameters
    ----------
    output
        The cohort.
    outcome
        `done`, or `nothing to do` if the same inputs have already been imported.
    record
        What the cohort stores in `uns["gimp"]["import"]`.
    """

    output: Path
    outcome: str
    record: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Values for `--json`."""
        return {"output": str(self.output), "outcome": self.outcome, **self.record}


def import_genes(
    paths: Sequence[Path], rules: ImportRules, *, output: Path, overwrite: bool = False
) -> ImportResult:
    """Make a cohort from published expression.

    Writes `output` and, beside it, `<stem>.exclusions.csv`.

    Parameters
    ----------
    paths
        Files and folders.
    rules
        How to import them.
    output
        The cohort, .h5ad.
    overwrite
        Whether to replace a cohort that was made from other inputs.

    Returns
    -------
    The result, with the counts of each rule.

    Raises
    ------
    StaleOutputError
        If `output` is not a cohort that we imported, or one made from other inputs and `overwrite`
        is false.
    CohortError
        If the source, a table or a value cannot be trusted; then nothing is written.
    """
    source = open_source(paths, rules)
    inputs = _inputs(source, rules, output)
    held = _current(output, inputs, overwrite=overwrite)
    if held is not None:
        return ImportResult(output=output, outcome="nothing to do", record=held)
    made = build_cohort(source, rules)
    record = {
        "format_version": FORMAT_VERSION,
        "source": source.format,
        "scale": made.scale,
        "scale_guessed": made.scale_guessed,
        "n_cases": len(made.obs),
        "n_genes": len(made.var),
        "counts": [asdict(count) for count in made.log.counts],
        "warnings": [_without_folders(text, [*paths, *source.files]) for text in made.log.warnings],
        **source.notes,
        **inputs,
    }
    report.write_exclusions(report.exclusions_path(output), made.log.left_out)
    write_cohort(output, made.values, obs=made.obs, var=made.var, scale=made.scale, record=record)
    return ImportResult(output=output, outcome="done", record=record)


def _inputs(source: Source, rules: ImportRules, output: Path) -> dict[str, Any]:
    """Inputs that determine the result: the files by name and hash, and the rules."""
    files = [*source.files, *rules.tables()]
    for path in files:
        if not path.exists():
            raise MissingFileError(f"no table {str(path)!r}", hint="check the path")
        start_of(path)  # a folder or a pipe cannot be hashed
        if output.exists() and path.samefile(output):
            raise CohortError(f"{str(path)!r} is both input and output", hint="give another -o")
    bar = tqdm(files, desc="hashing", unit="file", disable=None, leave=False)
    hashes = [{"name": path.name, "sha256": sha256_file(path)} for path in bar]
    options = rules.to_dict()
    files_sha256 = sha256_json([hashes, options, FORMAT_VERSION])
    return {"files": hashes, "options": options, "inputs_sha256": files_sha256}


def _without_folders(text: str, paths: Sequence[Path]) -> str:
    """Reduce paths to file names, so that equal inputs give equal records wherever they are."""
    for path in paths:
        text = text.replace(repr(str(path)), repr(path.name))
    return text


def _current(output: Path, inputs: dict[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """Record of an existing cohort made from the same inputs; refuse any other existing file."""
    if not output.exists():
        return None
    record = read_record(output)
    if record is not None and record.get("inputs_sha256") == inputs["inputs_sha256"]:
        return record if report.exclusions_path(output).exists() else None
    if record is None:
        problem = f"{str(output)!r} already exists and was not written by gimp import-genes"
        raise StaleOutputError(problem, hint="choose another --output")
    if overwrite:
        return None
    changed = _difference(record, inputs)
    problem = f"{str(output)!r} holds a cohort made from other inputs{changed}"
    raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")


def _difference(record: dict[str, Any], inputs: dict[str, Any]) -> str:
    """Name the options or the number of files that differ."""
    before, now = record.get("options", {}), inputs["options"]
    changed = [
        f"{key}: {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]
    ]
    old = {one.get("sha256") for one in record.get("files", [])}
    n_new = sum(one["sha256"] not in old for one in inputs["files"])
    changed += [f"{n_new} of {len(inputs['files'])} files"] if n_new else []
    return f" ({listed(changed)})" if changed else ""
