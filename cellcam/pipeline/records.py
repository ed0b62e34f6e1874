"""What is on disk about the work done: the truth about a batch, whatever runs it."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cellcam.errors import CellCamError, InputError, StoppedError
from cellcam.stacks.writing import write_json

Status = Literal["done", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one image, or of a block of it.

    Attributes
    ----------
    status : ``"refused"`` if the input cannot be used, ``"failed"`` if anything else went wrong
    reason : why, for people
    """

    image: str
    status: Status
    reason: str = ""
    cells: int = 0


@dataclass(frozen=True)
class Record:
    """What an item leaves on disk, beside its files: that it is done, and how it went.

    Attributes
    ----------
    files : path below the output folder, and size in bytes, of everything it wrote
    """

    key: str
    outcomes: tuple[Outcome, ...]
    files: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in a file; None where there is none that can be read."""
        try:
            told = json.loads(path.read_text("utf-8"))
            outcomes = tuple(Outcome(**one) for one in told["outcomes"])
            return cls(told["key"], outcomes, tuple((name, size) for name, size in told["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def complete(self, out: Path) -> bool:
        """Whether every file that was written is still there, at its size."""
        try:
            return all((out / name).stat().st_size == size for name, size in self.files)
        except OSError:
            return False

    def write(self, path: Path) -> None:
        """Write it whole; from now on the item counts as done."""
        write_json(path, asdict(self))


def record_path(out: Path, key: str) -> Path:
    """Where the record of an item is."""
    return out / "parts" / key[:2] / f"{key}.json"


def cells_path(out: Path, name: str) -> Path:
    """The cell table of one image, without its ending."""
    return out / "images" / f"{name}.cells"


def outcome_of(error: Exception, name: str) -> Outcome:
    """The row of an image that something went wrong with."""
    if isinstance(error, InputError):
        return Outcome(name, "refused", str(error))
    logging.getLogger("cellcam").warning("%s failed", name, exc_info=error)
    told = str(error) if isinstance(error, CellCamError) else f"{type(error).__name__}: {error}"
    return Outcome(name, "failed", told)


@contextmanager
def disk_full_stops() -> Iterator[None]:
    """Turn a full disk into `StoppedError`: no other item will do better."""
    try:
        yield
    except OSError as error:
        stop_if_full(error)
        raise


def stop_if_full(error: Exception) -> None:
    """Raise `StoppedError` if ``error`` says that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StoppedError(
            f"There is no space left for {error.filename or 'the results'}. Free some, and give "
            "the same command again: it goes on where it was."
        ) from error
