"""A run as a TIAToolbox engine: slides or bags in, probabilities and attention out."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import CheckpointError, listed
from gimp_plugin.explain.attention import (
    boxes_of,
    check_placed,
    place_of,
    split_by_slide,
)
from gimp_plugin.toolbox.bags import Images, find_cases, look_at, with_bags
from gimp_plugin.toolbox.given import (
    check_options,
    device_name,
    inputs_of,
    kind_of,
    paths_of,
)
from gimp_plugin.toolbox.outputs import at_home, moved_in
from gimp_plugin.toolbox.overlays import SUFFIXES, names_of, write_overlays
from gimp_plugin.toolbox.quiet import filters_kept, logging_kept
from gimp_plugin.toolbox.run_model import Item, Items, RunModel, reading_of
from gimp_plugin.toolbox.stores import let_sqlite_be

with logging_kept():
    import dask.array as da
    from tiatoolbox.models.engine.patch_predictor import PatchPredictor

logger = logging.getLogger(__name__)

FEATURES = "features"


class GimpPredictor(PatchPredictor):  # type: ignore[misc]  # TIAToolbox has no types
    """Predict the classes of slides, and the attention to their patches, with a fine-tuned run.

    A TIAToolbox engine. One item is a case with all its slides, and each slide gets the
    probabilities of its case. Patches are read like those of the run, so TIAToolbox options that
    change this (`patch_input_shape`, `ioconfig`, masks and so on) are refused.

    Parameters
    ----------
    model
        A fine-tuned run.
    device
        `auto`, `cpu`, `cuda` or `cuda:N`.
    verbose
        Whether to show TIAToolbox's progress.
    **inputs
        `adata` and the other fields of `gimp_plugin.toolbox.bags.Inputs`.

    Raises
    ------
    CheckpointError
        If the run is not fine-tuned, does not read slides, or is damaged.
    ConfigError
        If there is no such input or device.
    """

    device: str
    verbose: bool

    def __init__(
        self, model: Path | str, *, device: str = "cpu", verbose: bool = False, **inputs: Any
    ) -> None:
        self.inputs = inputs_of(inputs)
        self.path = Path(model)
        loaded = RunModel(self.path)
        self.record = loaded.record
        if not self.record.config.model.has_slides:
            problem = f"run {str(model)!r} was trained on genes only: it does not read slides"
            raise CheckpointError(problem, hint="use gimp predict, or another run")
        let_sqlite_be()
        super().__init__(loaded, device=device_name(device), verbose=verbose)
        self.ioconfig = reading_of(self.record)
        self._cases: list[Case] = []
        self._genes: Tensor | None = None

    def run(
        self,
        images: Any,
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
            One or several slides, bags, folders of either, or open TIAToolbox readers. In the
            result, bags come first, then slides in the order of slide_id; those of a case are
            together.
        save_dir
            Folder to save to. It may exist: other files in it stay.
        output_type
            `dict`; `zarr` (`dict` also becomes `zarr` with a `save_dir`, as in TIAToolbox);
            `annotationstore`, one `<slide_id>.db` per slide; `qupath`, one `<slide_id>.geojson`.
        overwrite
            Whether to replace outputs of an earlier run of this engine, if they have not been
            changed since; nothing else is replaced.
        features
            Folder for the bags of slides; by default `features` in `save_dir`. Without either, the
            bags are not kept.
        **options
            `device` and `verbose` as in TIAToolbox; `patch_mode`, `num_workers` and `batch_size`
            are ignored.

        Returns
        -------
        For `dict`, a dictionary: `slides` and `cases` (ids), `classes`, `probabilities` (slide,
        class), `predictions` (slide), and for each slide an array of `attention` (patch) and
        `coordinates` (patch, 4: edges in level-0 pixels). For `zarr`, its path; `slides`, `cases`
        and `classes` are its attributes. For the other types, the paths by slide_id.

        Raises
        ------
        ConfigError
            If an option is unknown or not accepted here, or there are no images.
        StaleOutputError
            If an output already exists; checked before any work.
        GimpError
            As for `gimp predict`.
        """
        check_options(options)
        kind, paths = kind_of(output_type, save_dir), paths_of(images)
        self.device = device_name(options.get("device") or self.device)
        self.verbose = bool(options.get("verbose", self.verbose))
        found, cohort = look_at(paths), self.inputs.checked(self.record)
        if kind in SUFFIXES:
            check_placed(found.bags.values())
        with ExitStack() as stack:
            stack.enter_context(filters_kept())
            made = None
            if save_dir is not None:
                names = names_of(kind, [*found.bags, *found.slide_ids])
                made = stack.enter_context(moved_in(Path(save_dir), names, overwrite=overwrite))
            folder = Path(features) if features else None
            if folder is None:
                folder = Path(save_dir or stack.enter_context(tempfile.TemporaryDirectory()))
                folder /= FEATURES
            self._find(found, cohort, features=folder)
            bags = [bag.path for case in self._cases for bag in case.bags]
            result = super().run(
                bags, patch_mode=True, save_dir=made, output_type=kind, return_probabilities=True
            )
        return result if save_dir is None else at_home(result, Path(save_dir))

    def get_dataloader(self, *_images: Any, **_options: Any) -> DataLoader[Item]:
        """Give the cases that `run` has found, one by one."""
        return DataLoader(Items(self._cases, self._genes), batch_size=None)

    def infer_patches(
        self, dataloader: DataLoader[Item], *, return_coordinates: bool = False
    ) -> dict[str, Any]:
        """Predict each case.

        Parameters
        ----------
        dataloader
            Loader of the cases.
        return_coordinates
            Whether every bag must have positions of its patches; otherwise, bags without positions
            get no coordinates.

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
            Result of `infer_patches`.
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
        """Save as TIAToolbox does, with the ids; one annotation store or GeoJSON file per slide.

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
        if output_type == "dict" or save_path is None:
            return ids | arrays
        return dict(
            write_overlays(
                arrays, pairs, kind=output_type, folder=save_path.parent, classes=ids["classes"]
            )
        )

    def _find(self, images: Images, cohort: Cohort | None, *, features: Path) -> None:
        """Find the cases of the images."""
        runtime = Runtime(device=str(self.device))
        bags = with_bags(images, self.path, inputs=self.inputs, features=features, runtime=runtime)
        self._cases, self._genes = find_cases(self.record, bags, self.inputs, cohort)
        used = {bag.slide_id for case in self._cases for bag in case.bags}
        lost = [slide_id for slide_id in bags if slide_id not in used]
        if lost:
            text = "%d of %d slides belong to no case that can be predicted and are left out: %s"
            logger.warning(text, len(lost), len(bags), listed(lost))


def _lazy(values: NDArray[Any]) -> da.Array:
    """Array in the form that TIAToolbox's engines use."""
    return da.from_array(values)  # type: ignore[no-untyped-call]  # dask has no types
