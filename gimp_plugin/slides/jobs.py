"""One extraction as a value, to run in this process or in others."""

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
    """One extraction.

    Parameters
    ----------
    config
        Settings that determine the bags.
    runtime
        Device and precision, readers per slide, and whether bags of other inputs may be replaced.
    options
        How slides are processed.
    output
        Folder of the bags.
    """

    config: ExtractionConfig
    runtime: Runtime
    options: ReadingOptions
    output: Path


def bag_folder(job: Job, encoder: PatchEncoder) -> BagFolder:
    """Make the folder of bags of a job.

    Parameters
    ----------
    job
        The extraction.
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
    """Make the maker of bags: the network on its device, connected to the readers.

    Parameters
    ----------
    job
        The extraction.
    encoder, folder
        Patch encoder and folder of the job.
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
