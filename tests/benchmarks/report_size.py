"""Measure the size of a report and the time to write it, on synthetic cases.

    python tests/benchmarks/report_size.py --cases 1000 --genes 2000

On a synthetic cohort, a tiny run is trained for an epoch, predicts every case and explains the test
cases. Then `gimp report` is given the run with more and more additions: predictions; the audit of
cohort and bags; the explanation, whose maps are drawn without a slide. Printed are the size of each
page and the CPU time to write it, after all imports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from gimp_plugin.config import CohortSource, ExplainConfig, Runtime
from gimp_plugin.prediction import predict
from gimp_plugin.studies.explanation import explain
from gimp_plugin.studies.report import Asked, report
from gimp_plugin.training import finetune

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.study_factory import make_study, tiny_config  # found through sys.path

RUNTIME = Runtime(device="cpu")


def main() -> None:
    """Make all inputs, and write each report."""
    asked = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_study(
            folder, n_cases=asked.cases, n_genes=asked.genes, n_patches=(20, 60), image_signal=0.9
        )
        run, table, why = folder / "run", folder / "predictions.csv", folder / "why"
        made(source, run, table, why)
        cohort = {"adata": source.adata, "features": source.features}
        beside = {
            "predictions": {"predictions": (table,), "cohort": {}},
            "predictions, audit": {"predictions": (table,), "cohort": cohort},
            "predictions, audit, explanation": {
                "predictions": (table,),
                "cohort": cohort,
                "explanations": (why,),
            },
        }
        write({"cohort": {}}, run, folder)  # for the imports
        for title, more in beside.items():
            size, seconds = write(more, run, folder)
            sys.stdout.write(f"{title:<33} {size / 1000:7.0f} kB  {seconds:6.1f} s of CPU\n")


def made(source: CohortSource, run: Path, table: Path, why: Path) -> None:
    """Train for an epoch, predict all cases and explain those of the test part."""
    config = tiny_config(genes__epochs=1, finetune__epochs=1)
    finetune(source, config, start="none", output=run, runtime=RUNTIME)
    predict(run, source, output=table, runtime=RUNTIME)
    skip = ("umap", "faithfulness")
    config = ExplainConfig(splits=("test",), n_steps=1, n_regions=2, skip=skip, formats=())
    explain([run], source, output=why, config=config, runtime=RUNTIME)


def write(more: dict, run: Path, folder: Path) -> tuple[int, float]:
    """Write a report; return its bytes and the CPU time."""
    started = time.process_time()
    report(Asked(runs=(run,), **more), output=folder / "report.html", overwrite=True)
    seconds = time.process_time() - started
    return (folder / "report.html").stat().st_size, seconds


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
