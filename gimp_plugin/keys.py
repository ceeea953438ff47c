"""Names used in our files, in one place, so that readers and writers agree."""

from __future__ import annotations

FORMAT = "format"
FORMAT_VERSION = "format_version"
COMPLETE = "complete"

BAG_FORMAT = "gimp.features"
BAG_FORMAT_VERSION = 1
FEATURES = "features"
COORDS = "coords"
FEATURES_SHA256 = "features_sha256"
COORDS_SHA256 = "coords_sha256"
ENCODER = "encoder"
ENCODER_WEIGHTS = "encoder_weights_sha256"
ENCODER_PLUGIN = "encoder_plugin"
EXTRACTION_SHA256 = "extraction_sha256"
EXTRACTION_CONFIG = "extraction_config"
SLIDE_FINGERPRINT = "slide_fingerprint"
N_BAD_PATCHES = "n_bad_patches"

UNS = "gimp"
SCALE = "scale"
OBSM = "X_gimp"
LABEL = "label"
SLIDE_ID = "slide_id"
CASE_ID = "case_id"

TRAIN = "train"
VAL = "val"
TEST = "test"
NEW = "new"
PARTS = (TRAIN, VAL, TEST)

BOTH = "slides+genes"
SLIDES = "slides"
GENES = "genes"
MODALITIES = (BOTH, SLIDES, GENES)

RUN_FORMAT = "gimp.run"
RUN_FORMAT_VERSION = 1
BUNDLE_FORMAT = "gimp.bundle"
BUNDLE_FORMAT_VERSION = 1
RUN_FORMATS = {RUN_FORMAT: RUN_FORMAT_VERSION, BUNDLE_FORMAT: BUNDLE_FORMAT_VERSION}
