"""Building a model from the components that its configuration names."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from torch import nn

import gimp_plugin
from gimp_plugin.assembly.guarding import made
from gimp_plugin.assembly.seeding import seeded
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.patches import Decoder, PatchEmbedding
from gimp_plugin.models.system import SystemModel
from gimp_plugin.plugins import registry, split_name
from gimp_plugin.plugins.manager import OURS
from gimp_plugin.storage.atomic import sha256_file


def build_model(
    config: ModelConfig,
    *,
    n_genes: int,
    feature_dim: int,
    n_classes: int,
    seed: int,
    decoder: bool,
) -> GimpModel:
    """Build a model with seeded initial weights.

    Parameters
    ----------
    config
        The model's configuration.
    n_genes
        Number of genes of a case; not used without a gene half.
    feature_dim
        Number of features of a patch; not used without an image half.
    n_classes
        Number of classes.
    seed
        Seed of the initial weights.
    decoder
        Whether the model can reconstruct masked patches, which a fine-tuned model need not.

    Returns
    -------
    The model, on the CPU, in training mode.

    Raises
    ------
    ConfigError
        If a component is not registered, or a system does not read these halves.
    PluginError
        If a component cannot be imported, or a plugin's component cannot be made.
    """
    if config.system:
        sizes = {"feature_dim": feature_dim, "n_genes": n_genes, "n_classes": n_classes}
        with seeded(seed, "weights"):
            system = made("system", config.system, config, size=n_classes, **sizes)
        return SystemModel(system, feature_norm=config.feature_norm)
    with seeded(seed, "weights"):
        gene_encoder: nn.Module | None = None
        patches: nn.Module | None = None
        aggregator: nn.Module | None = None
        dim = config.dim
        if config.has_genes:
            gene_encoder = made(
                "gene-encoder", config.gene_encoder, config, size=dim, n_genes=n_genes
            )
        if config.has_slides:
            patches = PatchEmbedding(feature_dim, dim, norm=config.feature_norm)
            aggregator = made("aggregator", config.aggregator, config, size=dim)
        fusion = made("fusion", config.fusion, config)
        in_dim = fusion.out_dim
        head = made("head", config.head, config, size=n_classes, in_dim=in_dim, n_classes=n_classes)
        reconstruction: nn.Module | None = None
        if decoder and config.has_slides:
            reconstruction = Decoder(
                dim, feature_dim, depth=config.decoder_depth, width=config.decoder_width
            )
        return GimpModel(
            gene_encoder=gene_encoder,
            patches=patches,
            aggregator=aggregator,
            decoder=reconstruction,
            fusion=fusion,
            head=head,
            gene_classifier=nn.Linear(config.dim, n_classes) if config.has_genes else None,
        )


def components_of(config: ModelConfig) -> dict[str, dict[str, str]]:
    """Where each component of a model comes from, for the run's provenance.

    Parameters
    ----------
    config
        The model's configuration.

    Returns
    -------
    Name, distribution and version by kind, and the `code` of a plugin's component.
    """
    grouping, _ = split_name(config.gene_grouping)
    used = {"trainer": config.trainer, **parts_of(config)}
    if config.has_genes:
        used |= {"gene-grouping": grouping}
    return {kind: {**origin_of(kind, name), **_code(kind, name)} for kind, name in used.items()}


def of_plugins(components: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Describe the components that come from plugins other than ours.

    Parameters
    ----------
    components
        Result of `components_of`, or the same from a run's provenance.

    Returns
    -------
    Name, distribution and version of each in words, by kind; empty if all are ours.
    """
    return {
        kind: f"{one.get('name')} of {one.get('distribution')} {one.get('version')}"
        + (f" (code {one['code']})" if one.get("code") else "")
        for kind, one in components.items()
        if one.get("distribution") != OURS
    }


def origin_of(kind: str, name: str) -> dict[str, str]:
    """Name, distribution and version of a registered component, for the provenance."""
    found = registry().component(kind, name)
    return {"name": name, "distribution": found.distribution, "version": found.version}


def _code(kind: str, name: str) -> dict[str, str]:
    """Hash of the module of a plugin's component, if there is one."""
    code = code_of(registry().component(kind, name).target)
    return {"code": code} if code else {}


def code_of(target: str) -> str:
    """Identify a plugin's code, so that changes without a new version are noticed.

    Parameters
    ----------
    target
        Import string of a component.

    Returns
    -------
    The beginning of the hash of the module's file; empty for ours, or if there is no file.
    """
    module = target.partition(":")[0]
    if module.partition(".")[0] == gimp_plugin.__name__:
        return ""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return sha256_file(path)[:8] if path is not None and path.is_file() else ""


def parts_of(config: ModelConfig) -> dict[str, str]:
    """Components that the model itself is made of.

    Parameters
    ----------
    config
        The model's configuration.

    Returns
    -------
    Name by kind, only of components that are also needed for prediction.
    """
    if config.system:
        return {"system": config.system}
    parts = {"fusion": config.fusion, "head": config.head}
    if config.has_genes:
        parts |= {"gene-encoder": config.gene_encoder}
    if config.has_slides:
        parts |= {"aggregator": config.aggregator}
    return parts
