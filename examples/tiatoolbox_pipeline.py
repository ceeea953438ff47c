#!/usr/bin/env python3
"""A TIAToolbox pipeline with a GiMP run: features, classes, and attention as an overlay.

    python examples/tiatoolbox_pipeline.py slides/*.svs --run runs/finetune --output out \
        --adata genes.h5ad

Slides are matched to cases of the cohort by name or by `--slide-table`. Without `--adata`, the run
predicts from the slides alone, if it was trained for that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zarr

from gimp_plugin.storage.bags import read_coords, read_features, read_info
from gimp_plugin.toolbox import GimpPredictor, register

if TYPE_CHECKING:
    from tiatoolbox.wsicore.wsireader import WSIReader


def main() -> None:
    """Extract features, predict classes, and save the patch with the most attention."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--adata", type=Path)
    parser.add_argument("--slide-table", type=Path)
    parser.add_argument("--baseline", action="store_true", help="read level 0, whatever its mpp")
    args = parser.parse_args()

    # 1: TIAToolbox, with our encoders and our engine
    register()  # first: imported by itself, TIAToolbox changes the logging
    from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor
    from tiatoolbox.wsicore.wsireader import WSIReader

    engine = GimpPredictor(args.run, adata=args.adata, slide_table=args.slide_table)
    (name,) = register(engine.record.extraction["patch_encoder"])
    extractor = DeepFeatureExtractor(name, batch_size=16, verbose=False)

    # 2: features, classes and attention
    readers = {slide: WSIReader.open(slide) for slide in args.slides}
    resolution = {"units": "mpp", "resolution": 0.5}
    if args.baseline:
        resolution = {"units": "baseline", "resolution": 1.0}
    stores = extractor.run(
        args.slides,
        patch_mode=False,
        input_resolutions=[resolution],
        save_dir=args.output / "toolbox",
        output_type="zarr",
    )
    bags = args.output / "features"
    found = engine.run(args.slides, features=bags)
    overlays = engine.run(
        args.slides,
        features=bags,
        save_dir=args.output / "overlays",
        output_type="annotationstore",
    )

    # 3: what came of it
    for slide_id, case_id, number, row in zip(
        found["slides"], found["cases"], found["predictions"], found["probabilities"], strict=True
    ):
        print(f"{slide_id}: {found['classes'][number]} ({row.max():.3f}), case {case_id}")
    for slide, reader in readers.items():
        scale = 1 if args.baseline else 0.5 / reader.info.mpp[0]
        compare(stores[slide], bags / f"{slide.stem}.h5", scale)
        show(overlays[slide.stem], reader, args.output / f"{slide.stem}.png")


def compare(store: Path, bag: Path, scale: float) -> None:
    """Compare the features from TIAToolbox's extractor with those from gimp."""
    theirs, ours = zarr.open(store, mode="r"), read_info(bag)
    corners = np.rint(theirs["coordinates"][:, :2] * scale).astype(int).tolist()
    rows = {tuple(corner): row for row, corner in enumerate(corners)}
    at = [rows[tuple(corner)] for corner in read_coords(ours).tolist()]
    apart = np.abs(theirs["features"][:][at].astype(np.float16) - read_features(ours)).max()
    print(f"{ours.slide_id}: {len(at)} patches, the two features at most {apart:g} apart")


def show(overlay: Path, reader: WSIReader, picture: Path) -> None:
    """Save the patch with the most attention."""
    from tiatoolbox.annotation.storage import SQLiteStore
    from tiatoolbox.utils.misc import imwrite

    store = SQLiteStore(overlay.absolute())
    patch = max((store[key] for key in store), key=lambda one: one.properties["score"])
    left, top, right, bottom = map(int, patch.geometry.bounds)
    imwrite(picture, reader.read_bounds((left, top, right, bottom), resolution=0, units="level"))
    weight = patch.properties["attention"]
    print(f"{overlay.stem}: most attended at ({left}, {top}), {weight:.2f} times an even share")


if __name__ == "__main__":
    main()
