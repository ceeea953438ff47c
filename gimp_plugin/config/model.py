"""Settings of the model: everything that determines its parameters and its function."""

from __future__ import annotations

from dataclasses import dataclass

from gimp_plugin.config.checks import Settings, require_choice, require_range
from gimp_plugin.errors import ConfigError
from gimp_plugin.keys import BOTH, MODALITIES

LARGE = 10**9
MANY_LAYERS = 1000
"""Beyond it, making the layers would take all memory before anything is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(Settings):
    """Components and sizes of the model; the defaults are the recommended preset.

    Parameters
    ----------
    modalities
        The halves that the model has: `slides+genes`, `slides` or `genes`.
    gene_encoder, aggregator, fusion, head, gene_grouping, trainer
        Names of registered components; the gene grouping may have an argument after a colon, as in
        `gmt:sets.gmt`.
    system
        Name of a registered system, a whole classifier in place of gene encoder, aggregator,
        fusion and head; empty for a model made of these.
    n_top_genes
        Number of genes to read, the most variable ones among the training cases; 0 reads all.
    dim, n_heads
        Hidden dimension d and attention heads, in both encoders.
    n_groups, n_fragments
        GroupMSA's N_gr and N_f; 0 derives them from the number of genes.
    gene_projection
        `per_fragment` weights, or one `shared` matrix for all fragments.
    gene_linear_path
        Whether to add a linear path from the genes to CLS_ge beside the attention.
    n_layers, n_landmarks, pinv_iterations
        Nyström layers, landmarks m, and iterations of the pseudo-inverse.
    segments
        How landmarks are formed: from `balanced` contiguous segments, or with zeros `front_pad`ded
        to a multiple of m, as in the package nystrom-attention.
    convolution_taps
        Taps of the residual convolution over neighbouring patches, odd; 0 leaves it out.
    cls_convolution
        Whether the residual convolution also reaches the CLS token.
    attention_dropout
        Dropout after each attention layer.
    feature_norm
        `layer` normalises each patch's features over their dimensions, `none` uses them raw.
    decoder_depth, decoder_width
        Hidden layers of the decoder that reconstructs patches, and their width (0: dim). Without
        hidden layers, it is linear and their width has no effect.
    embedding_dropout, head_dropout
        Dropout before the head, and inside an `mlp` head.
    """

    modalities: str = BOTH
    gene_encoder: str = "groupmsa"
    aggregator: str = "nystrom"
    fusion: str = "concat"
    head: str = "linear"
    gene_grouping: str = "file-order"
    trainer: str = "gimp"
    system: str = ""
    n_top_genes: int = 0
    dim: int = 512
    n_heads: int = 8
    n_groups: int = 0
    n_fragments: int = 0
    gene_projection: str = "per_fragment"
    gene_linear_path: bool = True
    n_layers: int = 2
    n_landmarks: int = 128
    pinv_iterations: int = 6
    segments: str = "balanced"
    convolution_taps: int = 33
    cls_convolution: bool = False
    attention_dropout: float = 0.1
    feature_norm: str = "layer"
    decoder_depth: int = 0
    decoder_width: int = 0
    embedding_dropout: float = 0.25
    head_dropout: float = 0.25

    def __post_init__(self) -> None:
        """Check ranges and choices.

        Raises
        ------
        ConfigError
            If a value is out of range, or dim is not a multiple of n_heads.
        """
        require_choice("modalities", self.modalities, MODALITIES)
        require_choice("gene_projection", self.gene_projection, ("per_fragment", "shared"))
        require_choice("segments", self.segments, ("balanced", "front_pad"))
        require_choice("feature_norm", self.feature_norm, ("layer", "none"))
        for name in ("dim", "n_heads", "n_landmarks", "pinv_iterations"):
            require_range(name, getattr(self, name), low=1, high=LARGE)
        for name in ("n_top_genes", "n_groups", "n_fragments", "convolution_taps", "decoder_width"):
            require_range(name, getattr(self, name), low=0, high=LARGE)
        require_range("n_layers", self.n_layers, low=1, high=MANY_LAYERS)
        require_range("decoder_depth", self.decoder_depth, low=0, high=MANY_LAYERS)
        for name in ("attention_dropout", "embedding_dropout", "head_dropout"):
            require_range(name, getattr(self, name), low=0.0, high=0.95)
        if self.dim % self.n_heads:
            raise ConfigError(f"dim = {self.dim} is not a multiple of n_heads = {self.n_heads}")
        if self.convolution_taps and self.convolution_taps % 2 == 0:
            raise ConfigError(
                f"convolution_taps = {self.convolution_taps} is even, expected an odd number"
            )

    @property
    def has_slides(self) -> bool:
        """Whether the model sees slides."""
        return "slides" in self.modalities

    @property
    def has_genes(self) -> bool:
        """Whether the model sees genes."""
        return "genes" in self.modalities
