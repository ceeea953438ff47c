"""The parts of TIAToolbox that we rely on, and a clear error if its version differs.

TIAToolbox has no plugin mechanism: we use its registry, and override methods of its engines.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gimp_plugin.errors import PluginError
from gimp_plugin.toolbox.quiet import logging_kept

TESTED = "2.1.3"
PREDICTOR = "tiatoolbox.models.engine.patch_predictor:PatchPredictor"
STORAGE = "tiatoolbox.annotation.storage"
ARCHITECTURE = "tiatoolbox.models.architecture"
MODEL = "tiatoolbox.models.models_abc:ModelABC"


@dataclass(frozen=True, slots=True)
class Reliance:
    """One object that we rely on.

    Parameters
    ----------
    name
        `module:attribute`.
    parameters
        Parameters that it must have; may be empty.
    same
        Another name that must refer to the same object; empty if there is none.
    """

    name: str
    parameters: tuple[str, ...] = ()
    same: str = ""


RELIANCES: dict[str, tuple[Reliance, ...]] = {
    "encoder": (
        Reliance("tiatoolbox:rcParam"),
        Reliance(f"{ARCHITECTURE}:PRETRAINED_INFO"),
        Reliance(
            f"{ARCHITECTURE}:get_pretrained_model", ("pretrained_model", "pretrained_weights")
        ),
        Reliance(f"{ARCHITECTURE}:fetch_pretrained_weights", ("model_name",)),
        Reliance(f"{ARCHITECTURE}:load_torch_model", ("model", "weights")),
        Reliance(f"{MODEL}.infer_batch", ("model", "batch_data", "device")),
        Reliance(f"{MODEL}.preproc", ("image",)),
        Reliance(
            "tiatoolbox.models.engine.engine_abc:get_pretrained_model",
            same=f"{ARCHITECTURE}:get_pretrained_model",
        ),
        Reliance(
            "tiatoolbox.models.engine.io_config:IOPatchPredictorConfig",
            ("patch_input_shape", "stride_shape", "input_resolutions"),
        ),
        Reliance("tiatoolbox.models.engine.deep_feature_extractor:DeepFeatureExtractor.infer_wsi"),
    ),
    "engine": (
        Reliance(f"{MODEL}.infer_batch", ("model", "batch_data", "device")),
        Reliance(f"{MODEL}.postproc", ("image",)),
        Reliance(f"{PREDICTOR}.__init__", ("model", "device", "verbose")),
        Reliance(f"{PREDICTOR}.run", ("images", "patch_mode", "save_dir", "output_type")),
        Reliance(f"{PREDICTOR}.get_dataloader", ("images", "patch_mode")),
        Reliance(f"{PREDICTOR}.infer_patches", ("dataloader", "return_coordinates")),
        Reliance(f"{PREDICTOR}.post_process_patches", ("raw_predictions",)),
        Reliance(
            f"{PREDICTOR}.save_predictions", ("processed_predictions", "output_type", "save_path")
        ),
        Reliance(f"{PREDICTOR}._run_patch_mode", ("output_type", "save_dir")),
        Reliance(f"{PREDICTOR}._get_model_attr", ("attr_name",)),
        Reliance(
            "tiatoolbox.models.engine.io_config:IOPatchPredictorConfig",
            ("patch_input_shape", "stride_shape", "input_resolutions"),
        ),
    ),
    "stores": (
        Reliance(f"{STORAGE}:Annotation", ("geometry", "properties")),
        Reliance(f"{STORAGE}:SQLiteStore", ("connection",)),
        Reliance(f"{STORAGE}:SQLiteStore.append_many", ("annotations", "keys")),
        Reliance(f"{STORAGE}:SQLiteStore.compile_options"),
        Reliance(f"{STORAGE}:SQLiteStore.close"),
        Reliance(
            "tiatoolbox.utils.visualization:AnnotationRenderer",
            ("score_prop", "mapper", "max_scale", "edge_thickness"),
        ),
    ),
}


def check(part: str) -> None:
    """Check the installed TIAToolbox for everything that a part of this package relies on.

    Parameters
    ----------
    part
        A key of `RELIANCES`.

    Raises
    ------
    PluginError
        If something is missing or differs.
    """
    with logging_kept():
        import tiatoolbox

        for one in RELIANCES[part]:
            differs = _difference(one)
            if differs:
                problem = (
                    f"tiatoolbox {tiatoolbox.__version__} differs from {TESTED}: {one.name!r} "
                )
                hint = f"install tiatoolbox {TESTED}, or a newer gimp-plugin"
                raise PluginError(problem + differs, hint=hint)


def _difference(one: Reliance) -> str:
    """Describe what is wrong with one object; empty if nothing is."""
    try:
        found = pkgutil.resolve_name(one.name)
        other = pkgutil.resolve_name(one.same) if one.same else found
    except (ImportError, AttributeError) as error:
        return f"is missing, expected it ({error})"
    if found is not other:
        return f"is not {one.same!r}, expected the same object"
    has = _parameters(found) if one.parameters else ()
    lacking = [name for name in one.parameters if name not in has]
    if lacking:
        return f"takes ({', '.join(has)}), expected also {', '.join(lacking)}"
    return ""


def _parameters(found: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters of a function or class."""
    try:
        return tuple(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return ()
