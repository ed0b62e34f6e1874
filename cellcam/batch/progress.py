"""Progress of a batch, image by image, read from the files in its output folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cellcam.batch.records import Outcome, Record, record_path
from cellcam.stacks.writing import write_json


@dataclass(frozen=True)
class PlannedImage:
    """The records that prove that an image is done.

    Attributes
    ----------
    name, file : of the image
    steps : keys of the records that are needed
        Any key of a step will do: small images are worked on together, or one by one where an
        image of the group made trouble.
    outcome : of an image that cannot be used; it has no steps
    """

    name: str
    file: str
    steps: tuple[tuple[str, ...], ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True)
class ImageProgress:
    """How far the work on one image is.

    Attributes
    ----------
    part : share of its steps that are done, 0 to 1
    """

    name: str
    file: str
    state: Literal["waiting", "running", "done", "refused", "failed"]
    cells: int = 0
    reason: str = ""
    part: float = 0.0


def plan_path(out: Path) -> Path:
    """File with the plan of a run."""
    return out / "parts" / "plan.json"


def running_path(out: Path, key: str) -> Path:
    """Marker file that exists while an item is worked on."""
    return out / "parts" / "running" / key


def write_plan(out: Path, images: Sequence[PlannedImage]) -> None:
    """Write the plan of a run, for those who watch its progress."""
    write_json(plan_path(out), {"images": [asdict(image) for image in images]})


class ProgressWatcher:
    """Reads the output folder of a run, again and again.

    Parameters
    ----------
    out : folder of the results
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._planned_at = 0
        self._images: list[PlannedImage] = []
        self._done: dict[str, Record] = {}  # finished records are not read again

    def look(self) -> list[ImageProgress]:
        """Progress of every image now; empty before the run is planned."""
        if not self._read_plan():
            return []
        try:
            running = {path.name for path in running_path(self._out, "").iterdir()}
        except OSError:
            running = set()
        seen: dict[str, Record | None] = {}
        return [self._progress_of(image, running, seen) for image in self._images]

    def _read_plan(self) -> bool:
        path = plan_path(self._out)
        try:
            changed = path.stat().st_mtime_ns
            if changed != self._planned_at:
                content = json.loads(path.read_text("utf-8"))
                self._images = [_planned(image) for image in content["images"]]
                self._planned_at, self._done = changed, {}
        except OSError:
            return False
        return True

    def _progress_of(
        self, image: PlannedImage, running: set[str], seen: dict[str, Record | None]
    ) -> ImageProgress:
        outcomes = [image.outcome] if image.outcome else []
        for keys in image.steps:
            records = (self._record(key, seen) for key in keys)
            found = [outcome for record in records if record for outcome in record.outcomes]
            outcomes += [outcome for outcome in found if outcome.image == image.name][:1]
        bad = next((outcome for outcome in outcomes if outcome.status != "done"), None)
        part = len(outcomes) / max(1, len(image.steps))
        busy = running.intersection(key for keys in image.steps for key in keys)
        if bad is not None and not busy:
            return ImageProgress(image.name, image.file, bad.status, reason=bad.reason, part=1.0)
        if part < 1 or busy:
            state: Literal["running", "waiting"] = "running" if busy or outcomes else "waiting"
            return ImageProgress(image.name, image.file, state, part=min(part, 0.99))
        # The last step of a huge image counts the cells of all its blocks.
        last = outcomes[-1]
        about = " ".join(last.notes)
        return ImageProgress(image.name, image.file, "done", last.cells, about, 1.0)

    def _record(self, key: str, seen: dict[str, Record | None]) -> Record | None:
        if key in self._done:
            return self._done[key]
        if key not in seen:
            record = Record.read(record_path(self._out, key))
            seen[key] = record if record is not None and record.complete(self._out) else None
        record = seen[key]
        if record is not None and all(outcome.status == "done" for outcome in record.outcomes):
            self._done[key] = record
        return record


def _planned(image: dict[str, object]) -> PlannedImage:
    steps = tuple(tuple(keys) for keys in image["steps"])  # type: ignore[attr-defined]
    outcome = image["outcome"]
    return PlannedImage(
        str(image["name"]),
        str(image["file"]),
        steps,
        Outcome.from_plain(outcome) if isinstance(outcome, dict) else None,
    )
