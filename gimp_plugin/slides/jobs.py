"""One extraction as a value: what to do and where, for this process or for others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.slides import description
from gimp_plugin.slides.encoders import PatchEncoder
from gimp_plugin.slides.folder import BagFolder

if TYPE_CHECKING:
    from gimp_plugin.slides.making import BagMaker
    from gimp_plugin.slides.reading import SlideReaders


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do with slides.

    Parameters
    ----------
    config
        What decides the bags.
    runtime
        Device and precision, readers of a slide, and whether bags of other inputs may be replaced.
    options
        How slides are worked through.
    output
        Folder of the bags.
    """

    config: ExtractionConfig
    runtime: Runtime
    options: ReadingOptions
    output: Path


def bag_folder(job: Job, encoder: PatchEncoder) -> BagFolder:
    """Folder of bags of one configuration.

    Parameters
    ----------
    job
        What to do.
    encoder
        The job's patch encoder.

    Returns
    -------
    The folder.
    """
    configuration = description.configuration(job.config, encoder)
    return BagFolder(job.output, configuration, overwrite=job.runtime.overwrite)


def bag_maker(
    job: Job, encoder: PatchEncoder, *, folder: BagFolder, readers: SlideReaders
) -> BagMaker:
    """Build what makes bags: the network on its device, and the way to the readers.

    Parameters
    ----------
    job
        What to do.
    encoder, folder
        Of the job.
    readers
        Processes that read slides; they start up while torch is imported here.

    Returns
    -------
    The maker.
    """
    from gimp_plugin.slides.encoding import Encoding
    from gimp_plugin.slides.making import BagMaker

    return BagMaker(
        readers,
        Encoding(encoder, job.runtime),
        folder=folder,
        config=job.config,
        options=job.options,
        num_workers=job.runtime.num_workers,
    )
