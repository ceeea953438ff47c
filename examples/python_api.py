#!/usr/bin/env python3
"""The five commands in Python, from slides to an evaluation, and the model as a folder to share.

    python examples/python_api.py slides/ genes.h5ad study/

These are the functions that the commands call: they write the same files, and continue after an
interruption. Slides are matched to cases as by the commands; here by equal names or TCGA barcodes.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gimp_plugin import GimpModel
from gimp_plugin.config import CohortSource, ExtractionConfig, Runtime, load_preset
from gimp_plugin.evaluation import evaluate
from gimp_plugin.prediction import predict
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.studies.bundle import export
from gimp_plugin.training import finetune, pretrain


def main() -> None:
    """Go from slides to an evaluation, and predict with the exported model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path)
    parser.add_argument("adata", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--patch-encoder", default="resnet50")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)  # first, or tiatoolbox sets up logging in its own way
    slides, genes, out = args.slides, args.adata, args.output

    # 1: settings; others have the defaults of the commands
    encoder = ExtractionConfig(patch_encoder=args.patch_encoder)
    changes = {"model.dim": args.dim}
    changes |= {f"{stage}.epochs": args.epochs for stage in ("genes", "pretrain", "finetune")}
    config = load_preset("recommended", changes)
    cases = CohortSource(adata=genes, features=out / "features")
    runtime = Runtime(device="auto", seed=0)
    # 2: the five commands
    extract_features([slides], encoder, output=out / "features", runtime=runtime)
    pretrain(cases, config, output=out / "pretrain", runtime=runtime)
    finetune(cases, config, start=f"{out}/pretrain", output=out / "finetune", runtime=runtime)
    predict(out / "finetune", cases, output=out / "predictions.csv", runtime=runtime)
    evaluation = evaluate(out / "predictions.csv", model=out / "finetune")
    # 3: what they give
    print(evaluation.to_markdown())
    accuracy = evaluation.metrics["accuracy"]
    print(f"accuracy {accuracy.value:.3f}, 95 % interval {accuracy.low:.3f}-{accuracy.high:.3f}")
    # 4: the model for others
    export(out / "finetune", output=out / "bundle", predictions=out / "predictions.csv")
    model = GimpModel.from_pretrained(out / "bundle")
    model.predict(adata=genes, features=out / "features", output=out / "by_bundle.csv")
    print(f"{model.classes} from {len(model.genes)} genes; {type(model.module).__name__}")
    # 5: the end


if __name__ == "__main__":
    main()
