"""What can go wrong for a user. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations

import errno


class CellCamError(Exception):
    """Base of every error that CellCam raises on purpose."""


class InputError(CellCamError, ValueError):
    """An image, label image or table cannot be used as it is."""


class ModelError(CellCamError, ValueError):
    """A model folder cannot be trusted or does not fit."""


class UsageError(CellCamError, ValueError):
    """An option or argument makes no sense, alone or with the others."""


class StoppedError(CellCamError):
    """Work ended early: a full disk, an interrupt, a lost scheduler. It can be resumed."""


# What reading a file can raise that says nothing about the file: a package may be missing.
NOT_THE_FILE = (CellCamError, MemoryError, ImportError)


def how_to_install(extra: str) -> str:
    """Command that installs an extra of CellCam, from a package index or from its source."""
    return (
        f"pip install 'cellcam[{extra}]' (in the folder of CellCam's source: pip install "
        f"'.[{extra}]')"
    )


def is_full_disk(error: OSError) -> bool:
    """Whether the disk is full, or the user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def full_disk(error: OSError) -> StoppedError:
    """Error for a full disk."""
    return StoppedError(
        f"There is no space left for {error.filename or 'the results'}. Free some, and give the "
        "same command again: it goes on where it was."
    )
