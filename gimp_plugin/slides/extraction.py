"""From slides to bags: missing bags are made, existing ones kept, failures listed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from gimp_plugin.cluster import check_scheduler
from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.errors import SlideError, StaleOutputError
from gimp_plugin.plugins.telling import tell_slide
from gimp_plugin.slides import cluster
from gimp_plugin.slides.diagnosis import check_file, fingerprint
from gimp_plugin.slides.encoders import PatchEncoder, find_encoder
from gimp_plugin.slides.finding import SlideFile, find_slides
from gimp_plugin.slides.folder import BagFolder
from gimp_plugin.slides.gallery import check_gallery, draw_lacking, write_sheet
from gimp_plugin.slides.jobs import Job, bag_folder, bag_maker
from gimp_plugin.slides.ledger import ExtractionResult, Ledger
from gimp_plugin.slides.plan import mask_print
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.resolutions import given_mpp
from gimp_plugin.slides.status import Status
from gimp_plugin.slides.turns import make_bags

__all__ = ["ExtractionResult", "extract_features"]

logger = logging.getLogger(__name__)


def extract_features(
    slides: Sequence[Path],
    config: ExtractionConfig | None = None,
    *,
    output: Path,
    runtime: Runtime | None = None,
    options: ReadingOptions | None = None,
    scheduler: str = "",
) -> ExtractionResult:
    """Make a bag of each slide.

    Complete and current bags are kept, so repeating an interrupted call continues it and gives the
    same bytes. A slide that fails does not stop the others: it is listed in `failures.csv` in the
    output folder and tried again by the next call. Processes with the same output folder share
    the slides.

    Parameters
    ----------
    slides
        Slide files and folders of slides.
    config
        Settings that determine the bags.
    output
        Folder of the bags.
    runtime
        Device and precision, readers per slide, and whether bags of other inputs may be replaced.
    options
        How slides are processed.
    scheduler
        Where to run: the address or file of a dask scheduler, or `local:N` for N processes; empty
        for this process.

    Returns
    -------
    The outcome of each slide.
    """
    start = time.monotonic()
    job = Job(
        config=config or ExtractionConfig(),
        runtime=runtime or Runtime(),
        options=options or ReadingOptions(),
        output=output,
    )
    if scheduler:
        check_scheduler(scheduler)
    found = find_slides(slides)
    encoder = find_encoder(job.config, offline=job.options.offline)
    folder = bag_folder(job, encoder)
    folder.check(found)
    if job.options.thumbnails:
        check_gallery(output)
    ours = in_shard(found, *job.options.shard)

    def told(slide: SlideFile, n_patches: int) -> None:
        tell_slide(slide.slide_id, bag=folder.bag(slide), n_patches=n_patches)

    status = Status(output)
    ledger = Ledger(status, n_slides=len(ours), masks=job.config.masks, told=told)
    lacking = _lacking(ours, ledger, folder, job=job)
    if lacking:
        with folder.shared(found):
            if scheduler:
                cluster.make_bags(lacking, job, ledger, scheduler=scheduler)
            else:
                _make_here(lacking, job, encoder, folder=folder, ledger=ledger)
    if job.options.thumbnails:
        kept = [slide for slide in ours if slide.slide_id in ledger.kept]
        for slide, error in draw_lacking(kept, job).items():
            ledger.fail(slide, error)
    folder.write_failures(ours, ledger.failures)
    if job.options.thumbnails and output.exists():
        logger.info("pictures of the slides: %s", write_sheet(output))
    return ledger.result(output, seconds=time.monotonic() - start)


def _make_here(
    slides: Sequence[SlideFile],
    job: Job,
    encoder: PatchEncoder,
    *,
    folder: BagFolder,
    ledger: Ledger,
) -> None:
    """Make the bags in this process, reading the slides in others."""
    with SlideReaders() as readers:
        maker = bag_maker(job, encoder, folder=folder, readers=readers)
        make_bags(slides, maker, ledger)


def in_shard(slides: Sequence[SlideFile], part: int, parts: int) -> list[SlideFile]:
    """Select the slides of one part by a hash of their ids, whatever other slides there are.

    Parameters
    ----------
    slides
        All slides.
    part, parts
        Number of the part, from 0, and number of parts.

    Returns
    -------
    The slides of the part, in the given order.
    """
    hashes = (hashlib.sha256(slide.slide_id.encode()).digest() for slide in slides)
    return [
        slide
        for slide, digest in zip(slides, hashes, strict=True)
        if int.from_bytes(digest[:8], "big") % parts == part
    ]


def _lacking(
    slides: Sequence[SlideFile], ledger: Ledger, folder: BagFolder, *, job: Job
) -> list[SlideFile]:
    """Slides whose bags must be made; the others have one, or cannot be slides."""
    lacking = []
    for slide in slides:
        try:
            check_file(slide.path)
            current = folder.bag(slide).exists() and folder.holds(
                slide,
                fingerprint(slide.path),
                mpp=given_mpp(slide, job.config, job.options.slide_mpps),
                mask_sha256=mask_print(slide, job.config),
                max_bad_patches=job.config.max_bad_patches,
            )
        except (SlideError, StaleOutputError) as error:
            ledger.fail(slide, error)
            continue
        if current:
            ledger.keep(slide)
        else:
            lacking.append(slide)
    logger.info("%d slides: %d to do, %d done before", len(slides), len(lacking), len(ledger.kept))
    return lacking
