"""Attributes of a bag: how it was made, under our names and those of CLAM and TRIDENT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from gimp_plugin import keys
from gimp_plugin.config import ExtractionConfig
from gimp_plugin.plugins import registry, split_name
from gimp_plugin.plugins.manager import is_ours
from gimp_plugin.slides import masks
from gimp_plugin.slides.encoders import KIND, UNTRAINED, PatchEncoder
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.geometry import NATIVE_TOLERANCE
from gimp_plugin.slides.grids import ORDERS
from gimp_plugin.slides.plan import SlidePlan
from gimp_plugin.slides.tissue import parameters
from gimp_plugin.storage.atomic import sha256_json

CONFIGURATION = "extraction_config"
DEFAULT = ExtractionConfig().to_dict()
VERSIONS = ("gimp-plugin", "tiatoolbox", "openslide-python", "torch", "numpy")


def configuration(config: ExtractionConfig, encoder: PatchEncoder) -> dict[str, Any]:
    """Return all that determines a bag besides the slide: bags with equal values may be mixed.

    Parameters
    ----------
    config
        The user's settings. The path of the weights and the resolutions of single slides are left
        out.
    encoder
        The patch encoder.

    Returns
    -------
    Plain values.
    """
    made = {
        "format_version": keys.BAG_FORMAT_VERSION,
        "patch_encoder": config.patch_encoder,
        "weights_sha256": encoder.weights_sha256,
        "preprocessing": encoder.preprocessing,
        "mpp": config.mpp,
        "patch_size": config.patch_size,
        "stride": config.stride or config.patch_size,
        "tissue": config.tissue,
        "min_tissue": config.min_tissue,
        "native_tolerance": NATIVE_TOLERANCE,
        **mask_parameters(config),
    }
    # Included only if used, so that bags made before these options existed stay current.
    later = {key: getattr(config, key) for key in ("grid", "input_size")}
    return made | {key: value for key, value in later.items() if value != DEFAULT[key]}


def mask_parameters(config: ExtractionConfig) -> dict[str, Any]:
    """Return what determines the masks, other than masks made elsewhere."""
    return dict(masks.PARAMETERS) if config.masks else parameters(config.tissue)


def fixed_attributes(
    config: ExtractionConfig, encoder: PatchEncoder, *, precision: str
) -> dict[str, Any]:
    """Return the attributes that all bags of one extraction share.

    Parameters
    ----------
    config
        The user's settings.
    encoder
        The patch encoder.
    precision
        Precision that the encoder runs in.

    Returns
    -------
    Attributes of the file.
    """
    made = configuration(config, encoder)
    return {
        keys.ENCODER: encoder.name,
        keys.ENCODER_WEIGHTS: encoder.weights_sha256,
        "encoder_licence": encoder.licence,
        "encoder_input_size": encoder.input_size,
        "untrained": encoder.weights_sha256 == UNTRAINED,
        "preprocessing": encoder.preprocessing,
        "precision": precision,
        "target_mpp": config.mpp,
        "patch_size": config.patch_size,
        "stride": made["stride"],
        "tissue_mask": config.tissue,
        "tissue_mask_parameters": json.dumps(mask_parameters(config), sort_keys=True),
        "min_tissue": config.min_tissue,
        "grid": config.grid,
        "input_size": config.input_size or config.patch_size,
        "order": ORDERS[config.grid],
        keys.EXTRACTION_SHA256: sha256_json(made),
        CONFIGURATION: json.dumps(made, sort_keys=True),
        "versions": json.dumps({name: version(name) for name in VERSIONS}, sort_keys=True),
        **_plugin(config),
    }


def _plugin(config: ExtractionConfig) -> dict[str, str]:
    """Name, distribution and version of a plugin's patch encoder; empty for one of ours."""
    name, _ = split_name(config.patch_encoder)
    for one in registry().components:
        if (one.kind, one.name) == (KIND, name) and not is_ours(one.origin):
            told = {"name": name, "distribution": one.distribution, "version": one.version}
            return {keys.ENCODER_PLUGIN: json.dumps(told, sort_keys=True)}
    return {}


def slide_attributes(slide: SlideFile, plan: SlidePlan, *, fingerprint: str) -> dict[str, Any]:
    """Return the attributes of one slide.

    Parameters
    ----------
    slide
        The slide.
    plan
        The plan it was read by.
    fingerprint
        Hash of its content.

    Returns
    -------
    Attributes of the file.
    """
    info, geometry = plan.info, plan.geometry
    attributes: dict[str, Any] = {
        "slide_id": slide.slide_id,
        "slide_name": slide.path.absolute().name,
        keys.SLIDE_FINGERPRINT: fingerprint,
        "slide_width": info.width,
        "slide_height": info.height,
        "slide_mpp_x": plan.mpp_x,
        "slide_mpp_y": plan.mpp_y,
        "slide_mpp_source": plan.mpp_source,
        "vendor": info.vendor,
        "reader": info.reader,
        "level": geometry.level,
        "level_downsample": info.downsamples[geometry.level],
        "patch_mpp": geometry.mpp,
        "patch_size_read": geometry.patch_size_read,
        "patch_size_level0": geometry.patch_size_level0,
        "stride_level0": geometry.stride_level0,
        "resampled": geometry.interpolation != "none",
        "interpolation": geometry.interpolation,
        "n_tissue_regions": plan.n_regions,
        **{f"tissue_mask_{key}": value for key, value in plan.tissue.items()},
    }
    return attributes if info.power is None else attributes | {"slide_power": info.power}


def coords_attributes(slide: SlideFile, plan: SlidePlan, *, stride: int) -> dict[str, Any]:
    """Return the attributes that readers of CLAM's and TRIDENT's files expect on `coords`.

    Parameters
    ----------
    slide
        The slide.
    plan
        The plan it was read by.
    stride
        Step in pixels at the target resolution.

    Returns
    -------
    Attributes of the dataset; those that we do not have (a path) are empty.
    """
    info, geometry = plan.info, plan.geometry
    downsample = info.downsamples[geometry.level]
    level_dim = [int(info.width / downsample), int(info.height / downsample)]
    return {
        "patch_size": geometry.patch_size,
        "patch_level": geometry.level,
        "downsample": [downsample, downsample],
        "downsampled_level_dim": level_dim,
        "level_dim": level_dim,
        "name": slide.slide_id,
        "save_path": "",
        "savetodir": "",
        "patch_size_level0": geometry.patch_size_level0,
        "level0_magnification": info.power or round(10 / plan.mpp_x, 1),
        "target_magnification": round(10 / geometry.mpp, 1),
        "overlap": geometry.patch_size - stride,
        "level0_width": info.width,
        "level0_height": info.height,
    }


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Say where two configurations differ.

    Parameters
    ----------
    ours, theirs
        Results of `configuration`, here and for an existing bag.

    Returns
    -------
    Keys and both values, for a message.

    Examples
    --------
    >>> differences({"mpp": 0.5, "stride": 256}, {"mpp": 0.25, "stride": 256})
    'mpp is 0.25 there and 0.5 here'
    """
    pairs = {
        key: tuple(made.get(key, DEFAULT.get(key)) for made in (theirs, ours))
        for key in sorted(ours.keys() | theirs.keys())
    }
    return ", ".join(
        f"{key} is {there!r} there and {here!r} here"
        for key, (there, here) in pairs.items()
        if there != here
    )
