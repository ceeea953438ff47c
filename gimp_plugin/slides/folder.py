"""The folder of bags: which bags exist, which may be replaced, and which are locked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import BagError, ConfigError, LockedError, ResourceError, StaleOutputError
from gimp_plugin.slides.description import CONFIGURATION, differences
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.storage.atomic import clean_partials, sha256_json
from gimp_plugin.storage.bags import SUFFIX, BagInfo, read_info, scan_bags
from gimp_plugin.storage.hdf5 import DamagedBagError
from gimp_plugin.storage.locks import held, held_by_all
from gimp_plugin.storage.tables import FAILURES, Failure, read_csv, write_failures
from gimp_plugin.storage.verification import verify_bag

logger = logging.getLogger(__name__)

LOCK = ".lock"


class BagFolder:
    """A folder that holds bags of one configuration.

    Parameters
    ----------
    path
        The folder; it is created with the first bag.
    configuration
        All that determines its bags besides the slides.
    overwrite
        Whether bags of other inputs may be replaced, for the given slides only.

    Raises
    ------
    ConfigError
        If the path is a file.
    ResourceError
        If the folder is not writable.
    """

    def __init__(self, path: Path, configuration: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = path
        self._configuration = dict(configuration)
        self._hash = sha256_json(self._configuration)
        self._overwrite = overwrite
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not there.is_dir():
            problem = f"{str(there)!r} is a file, expected a folder"
            raise ConfigError(problem, hint="choose another --output")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ResourceError(f"cannot write in {str(there)!r}", hint="choose another --output")
        clean_partials(path)
        self._clean_locks()

    def bag(self, slide: SlideFile) -> Path:
        """Return the path of a slide's bag."""
        return self.path / f"{slide.slide_id}{SUFFIX}"

    def check(self, slides: Iterable[SlideFile]) -> None:
        """Refuse to mix configurations, and to replace files that are not ours.

        Parameters
        ----------
        slides
            Slides whose bags are to be in the folder.

        Raises
        ------
        StaleOutputError
            If the folder has a bag of another configuration, unless it is that of one of `slides`
            and may be overwritten, or if another kind of file has the path of a bag.
        """
        wanted = {slide.slide_id for slide in slides}
        bags, errors = scan_bags(self.path) if self.path.exists() else ([], {})
        for info in bags:
            if keys.EXTRACTION_SHA256 in info.attributes:
                self._check_configuration(info, wanted)
            elif info.slide_id in wanted:
                raise _not_ours(info.path, "it was made by another program")
        for slide_id in wanted & errors.keys():
            if not isinstance(errors[slide_id], DamagedBagError):
                raise _not_ours(self.path / f"{slide_id}{SUFFIX}", errors[slide_id].problem)

    def holds(
        self,
        slide: SlideFile,
        fingerprint: str,
        *,
        mpp: float,
        mask_sha256: str = "",
        max_bad_patches: float = 1.0,
    ) -> bool:
        """Whether the bag of a slide is complete and current.

        Parameters
        ----------
        slide
            The slide.
        fingerprint
            Current fingerprint of the slide.
        mpp
            Resolution given by the user; 0 for none.
        mask_sha256
            Hash of its mask, if that was made elsewhere.
        max_bad_patches
            Largest share of its patches that may be missing because they were unreadable.

        Returns
        -------
        False if there is no bag, if it is damaged, or if it is stale and may be overwritten. Every
        byte is checked only if bags may be overwritten.

        Raises
        ------
        StaleOutputError
            If it may not be overwritten, and was made from another slide of that name or with
            another resolution, mask or configuration, or lacks too many patches.
        """
        path = self.bag(slide)
        if not path.exists():
            return False
        try:
            info = read_info(path)
        except DamagedBagError as error:
            logger.warning("%s: making it again", error.problem)
            return False
        if info.attributes.get(keys.EXTRACTION_SHA256) != self._hash:
            self._check_configuration(info, {slide.slide_id})
            return False  # it may be overwritten
        problem = _other_input(info, slide, fingerprint=fingerprint, mpp=mpp)
        if info.attributes.get("tissue_mask_sha256", "") != mask_sha256:
            problem = problem or f"{str(info.path)!r} was not made with the mask that is given"
        problem = problem or _too_many_bad(info, max_bad_patches)
        if problem and not self._overwrite:
            raise StaleOutputError(problem, hint="use --overwrite, or choose another --output")
        return not problem and not (self._overwrite and _is_damaged(path))

    @contextmanager
    def shared(self, slides: Iterable[SlideFile]) -> Iterator[None]:
        """Share the folder with processes of the same configuration, and keep others out.

        Parameters
        ----------
        slides
            As for `check`, which is repeated because others may have worked here meanwhile.

        Yields
        ------
        None, while the folder is shared.

        Raises
        ------
        LockedError
            If a process of another configuration is working in the folder.
        """
        was_there = self.path.exists()
        try:
            with held_by_all(self.path / f".configuration{LOCK}", self._hash):
                self.check(slides)
                yield
        finally:
            if not was_there:  # leave no empty folder behind
                with suppress(OSError):
                    self.path.rmdir()

    @contextmanager
    def locked(self, slide: SlideFile) -> Iterator[None]:
        """Keep other processes from making the bag of a slide at the same time.

        Yields
        ------
        None, while the lock is held.
        """
        name = hashlib.sha256(slide.slide_id.encode()).hexdigest()[:16]  # the id may be too long
        path = self.path / f".{name}{LOCK}"
        with held(path):
            try:
                clean_partials(self.path, self.bag(slide).name)
                yield
            finally:
                path.unlink(missing_ok=True)  # a waiting process then opens the new one

    def write_failures(self, slides: Sequence[SlideFile], failures: Sequence[Failure]) -> None:
        """Replace the rows of these slides in `failures.csv`; remove the file if it is empty."""
        ours = {slide.slide_id for slide in slides}
        path, lock = self.path / FAILURES, self.path / f".{FAILURES}{LOCK}"
        if not (failures or path.exists()):
            return
        with held(lock, wait=True):  # several processes may end at the same time
            others = [Failure(**row) for row in read_csv(path)] if path.exists() else []
            rows = [*failures, *(row for row in others if row.item not in ours)]
            write_failures(self.path, sorted(rows, key=lambda row: row.item))
            lock.unlink(missing_ok=True)

    def _clean_locks(self) -> None:
        """Remove the locks that no process holds, left by killed processes."""
        for path in self.path.glob(f".*{LOCK}"):
            with suppress(LockedError), held(path):
                path.unlink(missing_ok=True)

    def _check_configuration(self, info: BagInfo, wanted: set[str]) -> None:
        """Refuse a bag of another configuration."""
        theirs = str(info.attributes[keys.EXTRACTION_SHA256])
        if theirs == self._hash or (self._overwrite and info.slide_id in wanted):
            return
        told = json.loads(str(info.attributes.get(CONFIGURATION, "{}")))
        problem = (
            f"{str(info.path)!r} was made with another configuration ({theirs[:12]}) than "
            f"the requested one ({self._hash[:12]}): {differences(self._configuration, told)}"
        )
        hint = "choose another --output, or use --overwrite with all of its slides"
        raise StaleOutputError(problem, hint=hint)


def _is_damaged(path: Path) -> bool:
    """Whether a bag's content contradicts its attributes."""
    try:
        verify_bag(path)
    except BagError as error:
        logger.warning("%s: making it again", error.problem)
        return True
    return False


def _other_input(info: BagInfo, slide: SlideFile, *, fingerprint: str, mpp: float) -> str:
    """Name the input of a bag that has changed; empty if none."""
    if info.attributes.get(keys.SLIDE_FINGERPRINT) != fingerprint:
        return f"{str(info.path)!r} was made from another slide than {str(slide.path)!r}"
    there = info.attributes.get("slide_mpp_x")
    given = info.attributes.get("slide_mpp_source") == "given"
    if given and mpp and there != mpp:
        return f"{str(info.path)!r} was made with --slide-mpp {there:g}, but now it is {mpp:g}"
    return ""


def _too_many_bad(info: BagInfo, max_bad_patches: float) -> str:
    """Say that a bag lacks too many unreadable patches; empty if it does not."""
    n_bad = int(info.attributes.get(keys.N_BAD_PATCHES, 0))
    n_planned = info.n_patches + n_bad
    if n_bad <= max_bad_patches * n_planned:
        return ""
    return (
        f"{str(info.path)!r} lacks {n_bad} of {n_planned} patches that could not be read, "
        f"more than --max-bad-patches {max_bad_patches:g}"
    )


def _not_ours(path: Path, reason: str) -> StaleOutputError:
    """Error for a file that is not ours at the path of a bag."""
    problem = f"{str(path)!r} is not ours to replace: {reason}"
    return StaleOutputError(problem, hint="move it away, or choose another --output")
