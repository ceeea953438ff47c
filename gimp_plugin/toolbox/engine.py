"""A run as an engine of TIAToolbox: slides or bags in, probabilities and attention out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import CheckpointError, ConfigError, did_you_mean, listed
from gimp_plugin.toolbox.attention import SlideAttention, boxes_of, place_of, split_by_slide
from gimp_plugin.toolbox.bags import Inputs, as_path, find_bags, find_cases
from gimp_plugin.toolbox.geojson import write_geojson
from gimp_plugin.toolbox.outputs import at_home, moved_in
from gimp_plugin.toolbox.quiet import filters_kept, logging_kept
from gimp_plugin.toolbox.run_model import Item, Items, RunModel, reading_of
from gimp_plugin.toolbox.stores import let_sqlite_be, write_store

with logging_kept():
    import dask.array as da
    from tiatoolbox.models.engine.patch_predictor import PatchPredictor

logger = logging.getLogger(__name__)

FEATURES = "features"
ZARR = "output.zarr"
OUTPUTS = ("dict", "zarr", "annotationstore", "qupath")
SUFFIXES = {"annotationstore": ".db", "qupath": ".geojson"}
OPTIONS = ("patch_mode", "device", "num_workers", "batch_size", "verbose")
"""Options of `run` that TIAToolbox's users give and that have a meaning, or none, here."""


class GimpPredictor(PatchPredictor):  # type: ignore[misc]
    """Classes of slides by a fine-tuned run, and the attention to their patches.

    An engine of TIAToolbox: one item is a case with all its slides, and a slide gets the
    probabilities of its case. Patches are read as the run's own were, so options of TIAToolbox that
    say how (`patch_input_shape`, `ioconfig`, masks and so on) are refused.

    Parameters
    ----------
    model
        A fine-tuned run.
    device
        `cpu`, `cuda` or `cuda:N`.
    verbose
        Show TIAToolbox's progress.
    **inputs
        `adata` and what else `gimp_plugin.toolbox.bags.Inputs` takes.

    Raises
    ------
    CheckpointError
        If the run is not fine-tuned, has no slides, or is damaged.
    """

    device: str
    verbose: bool

    def __init__(
        self, model: Path | str, *, device: str = "cpu", verbose: bool = False, **inputs: Any
    ) -> None:
        self.inputs = Inputs(**inputs)
        self.path = Path(model)
        loaded = RunModel(self.path)
        self.record = loaded.record
        if not self.record.config.model.has_slides:
            problem = f"run {str(model)!r} was trained on genes only: slides say nothing to it"
            raise CheckpointError(problem, hint="use gimp predict, or another run")
        let_sqlite_be()
        super().__init__(loaded, device=device, verbose=verbose)
        self.ioconfig = reading_of(self.record)
        self._cases: list[Case] = []
        self._genes: Tensor | None = None

    def run(
        self,
        images: Sequence[Any],
        *,
        save_dir: Path | str | None = None,
        output_type: str = "dict",
        overwrite: bool = False,
        features: Path | str | None = None,
        **options: Any,
    ) -> Any:
        """Predict slides.

        Parameters
        ----------
        images
            Slides, bags, folders of either, and open readers of TIAToolbox. Bags come first in the
            result, slides after them in the order of slide_id, those of a case together.
        save_dir
            Folder to save to. It may exist: what is not ours in it stays.
        output_type
            `dict`; `zarr` (also what `dict` becomes with a `save_dir`, as in TIAToolbox);
            `annotationstore`, one `<slide_id>.db` a slide; `qupath`, one `<slide_id>.geojson`.
        overwrite
            Replace outputs of an earlier run of this engine, and nothing else.
        features
            Folder for the bags of slides; by default `features` in `save_dir`, else they are not
            kept.
        **options
            `device` and `verbose` as in TIAToolbox; `patch_mode`, `num_workers` and `batch_size`
            are of no account.

        Returns
        -------
        A dictionary: `slides` and `cases` (ids), `classes`, `probabilities` (slide, class),
        `predictions` (slide), and for each slide an array of `attention` (patch) and `coordinates`
        (patch, 4: edges in level-0 pixels). Of the zarr its path, with `slides`, `cases` and
        `classes` as its attributes; of the other types the path by slide_id.

        Raises
        ------
        ConfigError
            If an option is unknown or without meaning here.
        StaleOutputError
            If an output exists.
        GimpError
            As for `gimp predict`.
        """
        kind = self._checked(output_type, save_dir, options)
        with ExitStack() as stack:
            stack.enter_context(filters_kept())
            folder = Path(features) if features else None
            if folder is None:
                folder = Path(save_dir or stack.enter_context(tempfile.TemporaryDirectory()))
                folder /= FEATURES
            self._find(images, features=folder)
            made = None
            if save_dir is not None:
                names = [ZARR] if kind == "zarr" else self._names(SUFFIXES[kind])
                made = stack.enter_context(moved_in(Path(save_dir), names, overwrite=overwrite))
            paths = [bag.path for case in self._cases for bag in case.bags]
            result = super().run(
                paths, patch_mode=True, save_dir=made, output_type=kind, return_probabilities=True
            )
        return result if save_dir is None else at_home(result, Path(save_dir))

    def get_dataloader(self, *_images: Any, **_options: Any) -> DataLoader[Item]:
        """Give the cases one by one; `run` has found them."""
        return DataLoader(Items(self._cases, self._genes), batch_size=None)

    def infer_patches(
        self, dataloader: DataLoader[Item], *, return_coordinates: bool = False
    ) -> dict[str, Any]:
        """Predict each case.

        Parameters
        ----------
        dataloader
            Gives the cases.
        return_coordinates
            Whether every bag must say where its patches lie; else those that do not have none.

        Returns
        -------
        `probabilities` of each slide, and its `attention` and `coordinates`, as dask arrays.
        """
        infer_batch = self._get_model_attr("infer_batch")
        probabilities, attention, coordinates = [], [], []
        for item in dataloader:
            out = infer_batch(self.model, item, device=self.device)
            bags = item.case.bags
            probabilities += [out["probabilities"]] * len(bags)
            attention += split_by_slide(out["attention"], bags)
            for bag in bags:
                placed = return_coordinates or (bag.has_coords and bag.patch_size_level0)
                coordinates.append(boxes_of(*place_of(bag)) if placed else np.empty((0, 4), int))
        return {
            "probabilities": _lazy(np.stack(probabilities)),
            "attention": [_lazy(one) for one in attention],
            "coordinates": [_lazy(one) for one in coordinates],
        }

    def post_process_patches(
        self, raw_predictions: dict[str, Any], **options: Any
    ) -> dict[str, Any]:
        """Add the index of the most probable class, `predictions`.

        Parameters
        ----------
        raw_predictions
            What `infer_patches` gave.
        **options
            As in TIAToolbox.

        Returns
        -------
        The same dictionary.
        """
        found = super().post_process_patches(raw_predictions, **options)
        found["predictions"] = found["predictions"].astype(np.int64)  # of two classes it is bool
        return found

    def save_predictions(
        self,
        processed_predictions: dict[str, Any],
        output_type: str,
        save_path: Path | None = None,
        **options: Any,
    ) -> Any:
        """Save as TIAToolbox does, with the ids; stores and GeoJSON one a slide.

        Parameters
        ----------
        processed_predictions
            Dask arrays by name.
        output_type, save_path
            As in TIAToolbox.
        **options
            As in TIAToolbox.

        Returns
        -------
        A dictionary of arrays, a path, or paths by slide_id.
        """
        pairs = [(bag.slide_id, case.case_id) for case in self._cases for bag in case.bags]
        ids = {"slides": [one for one, _ in pairs], "cases": [one for _, one in pairs]}
        ids["classes"] = list(self.record.classes)
        if output_type == "zarr":
            import zarr

            path = super().save_predictions(processed_predictions, "zarr", save_path, **options)
            zarr.open_group(path, mode="r+").attrs.update(ids)
            return path
        arrays = super().save_predictions(processed_predictions, "dict", None, **options)
        if output_type == "dict":
            return ids | arrays
        if save_path is None:
            raise ConfigError(f"output_type={output_type!r} needs a save_dir")
        return dict(self._write(arrays, pairs, output_type, save_path.parent))

    def _write(
        self, arrays: dict[str, Any], pairs: list[tuple[str, str]], kind: str, folder: Path
    ) -> Iterator[tuple[str, Path]]:
        """Write one file a slide."""
        write = write_store if kind == "annotationstore" else write_geojson
        for row, (slide_id, case_id) in enumerate(pairs):
            boxes, values = arrays["coordinates"][row], arrays["probabilities"][row].tolist()
            found = SlideAttention(
                slide_id=slide_id,
                case_id=case_id,
                attention=arrays["attention"][row],
                corners=boxes[:, :2].astype(np.int32),
                side=int(boxes[0, 2] - boxes[0, 0]),
                probabilities=dict(zip(self.record.classes, values, strict=True)),
            )
            path = folder / f"{slide_id}{SUFFIXES[kind]}"
            write(path, found)
            yield slide_id, path

    def _find(self, images: Sequence[Any], *, features: Path) -> None:
        """Find the cases of the images."""
        runtime = Runtime(device=str(self.device))
        paths = [as_path(image) for image in images]
        bags = find_bags(self.path, paths, inputs=self.inputs, features=features, runtime=runtime)
        self._cases, self._genes = find_cases(self.record, bags, self.inputs)
        used = {bag.slide_id for case in self._cases for bag in case.bags}
        lost = [slide_id for slide_id in bags if slide_id not in used]
        if lost:
            text = "%d of %d slides are of no case that can be predicted and are left out: %s"
            logger.warning(text, len(lost), len(bags), listed(lost))

    def _names(self, suffix: str) -> list[str]:
        """Names of one file a slide."""
        return [f"{bag.slide_id}{suffix}" for case in self._cases for bag in case.bags]

    def _checked(
        self, output_type: str, save_dir: Path | str | None, options: dict[str, Any]
    ) -> str:
        """Refuse what has no meaning here, take over the rest; give the type of the output."""
        strange = [name for name in options if name not in OPTIONS and options[name] is not None]
        if strange:
            problem = (
                f"GimpPredictor.run takes no {strange[0]!r}{did_you_mean(strange[0], OPTIONS)}"
            )
            raise ConfigError(problem, hint="slides are read as those of the run were")
        kind = output_type.lower()
        if kind not in OUTPUTS:
            problem = f"output_type is {output_type!r}{did_you_mean(kind, OUTPUTS)}"
            raise ConfigError(problem, hint=f"known are {listed(OUTPUTS)}")
        if kind != "dict" and save_dir is None:
            raise ConfigError(f"output_type={output_type!r} needs a save_dir", hint="give one")
        device = options.get("device") or self.device
        Runtime(device=str(device))  # refused before anything of the engine changes
        self.device = device
        self.verbose = bool(options.get("verbose", self.verbose))
        return "zarr" if kind == "dict" and save_dir is not None else kind


def _lazy(values: NDArray[Any]) -> da.Array:
    """Array as TIAToolbox's engines hand them on."""
    return da.from_array(values)  # type: ignore[no-untyped-call]
