"""Records of finished items: the files on disk are the truth about a batch."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cellcam.errors import CellCamError, InputError, StoppedError, full_disk, is_full_disk
from cellcam.explain.memory import is_out_of_memory
from cellcam.stacks.writing import write_json

Status = Literal["done", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """Result of the work on one image, or on a block of it.

    Attributes
    ----------
    status : ``"refused"`` if the input cannot be used, ``"failed"`` if anything else went wrong
    reason : why, for the user
    cells : number of cells
    notes : what the user must know about an image that is done
    """

    image: str
    status: Status
    reason: str = ""
    cells: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Outcome:
        """Outcome from the plain data that it was written as."""
        return cls(**{**content, "notes": tuple(content.get("notes", ()))})


@dataclass(frozen=True)
class Record:
    """Proof that an item is done.

    Attributes
    ----------
    key : of the item
    outcomes : one for each of its images
    files : path below the output folder, and size in bytes, of each file that it wrote
    """

    key: str
    outcomes: tuple[Outcome, ...]
    files: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Record in a file; None if there is none, or it cannot be read."""
        try:
            content = json.loads(path.read_text("utf-8"))
            outcomes = tuple(map(Outcome.from_plain, content["outcomes"]))
            files = tuple((name, size) for name, size in content["files"])
            return cls(content["key"], outcomes, files)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def complete(self, out: Path) -> bool:
        """Whether every file is still there, with its size."""
        try:
            return all((out / name).stat().st_size == size for name, size in self.files)
        except OSError:
            return False

    def write(self, path: Path) -> None:
        """Write the record; from then on the item counts as done."""
        write_json(path, asdict(self))


def record_path(out: Path, key: str) -> Path:
    """File of an item's record."""
    return out / "parts" / key[:2] / f"{key}.json"


def cells_path(out: Path, name: str) -> Path:
    """Cell table of one image, without the ending."""
    return out / "images" / f"{name}.cells"


def outcome_of(error: Exception, name: str) -> Outcome:
    """Outcome of an image whose work ended with an error."""
    if isinstance(error, InputError):
        return Outcome(name, "refused", str(error))
    logging.getLogger("cellcam").warning("%s failed", name, exc_info=error)
    text = str(error) if isinstance(error, CellCamError) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        text += ". There is not enough memory for it: start fewer --workers, or use --device cpu."
    return Outcome(name, "failed", text)


def failure_lines(failed: Sequence[Outcome], most: int = 10) -> Iterator[str]:
    """Why images have no result, in lines for people; images with the same reason share a line."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in failed:
        # The reason names the file: what is left without it is what images can have in common.
        file = rf"\S*{re.escape(Path(outcome.image).name)}\S*"
        groups.setdefault((outcome.status, re.sub(file, "", outcome.reason)), []).append(outcome)
    for (status, _), outcomes in list(groups.items())[:most]:
        first, *others = outcomes
        yield f"{status}: {first.image}: {first.reason}"
        if others:
            listed = ", ".join(outcome.image for outcome in others[:3])
            rest = f" and {len(others) - 3} more" if len(others) > 3 else ""
            yield f"  The same reason: {listed}{rest}."
    if len(groups) > most:
        yield f"{len(groups) - most} further reasons are in images.csv."


@contextmanager
def disk_full_stops() -> Iterator[None]:
    """Turn a full disk into `StoppedError`: every other item would fail, too."""
    try:
        yield
    except OSError as error:
        stop_if_all_would_fail(error)
        raise


def stop_if_all_would_fail(error: Exception) -> None:
    """Raise `StoppedError` if every other item would fail, too: a full disk, a lost model."""
    if isinstance(error, StoppedError):
        raise error
    if isinstance(error, OSError) and is_full_disk(error):
        raise full_disk(error) from error


@contextmanager
def damaged_part_stops(path: Path) -> Iterator[None]:
    """Turn errors of reading a table that an item wrote into `StoppedError`, and remove it.

    Its item is then not done any more.
    """
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        path.unlink(missing_ok=True)
        raise StoppedError(
            f"{path} is damaged and was removed. Give the same command again: it is made anew."
        ) from error
