"""How each image of a run stands, told from the files in its output folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cellcam.pipeline.records import Outcome, Record, record_path
from cellcam.stacks.writing import write_json


@dataclass(frozen=True)
class PlannedImage:
    """What has to be on disk before an image is done.

    Attributes
    ----------
    name, file : of the image
    steps : records that are needed; of each step any one of the keys will do, since small images
        are worked on together, or by themselves where one of them gave trouble
    outcome : of an image that cannot be used, for which there are no steps
    """

    name: str
    file: str
    steps: tuple[tuple[str, ...], ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Standing:
    """How one image stands.

    Attributes
    ----------
    part : share of its steps that is done, 0 to 1
    """

    name: str
    file: str
    state: Literal["waiting", "running", "done", "refused", "failed"]
    cells: int = 0
    reason: str = ""
    part: float = 0.0


def plan_path(out: Path) -> Path:
    """Where a run says what it is going to do."""
    return out / "parts" / "plan.json"


def running_path(out: Path, key: str) -> Path:
    """A file that is there while somebody works on an item."""
    return out / "parts" / "running" / key


def write_plan(out: Path, images: Sequence[PlannedImage]) -> None:
    """Say what a run is going to do, for whoever watches it."""
    write_json(plan_path(out), {"images": [asdict(image) for image in images]})


class Watch:
    """Looks at the output folder of a run, again and again.

    Parameters
    ----------
    out : folder of the results
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._planned_at = 0
        self._images: list[PlannedImage] = []
        self._done: dict[str, Record] = {}  # what is done is not read again

    def look(self) -> list[Standing]:
        """Every image of the run as it stands now; none before the run is planned."""
        if not self._know_plan():
            return []
        try:
            running = {path.name for path in running_path(self._out, "").iterdir()}
        except OSError:
            running = set()
        seen: dict[str, Record | None] = {}
        return [self._standing(image, running, seen) for image in self._images]

    def _know_plan(self) -> bool:
        path = plan_path(self._out)
        try:
            changed = path.stat().st_mtime_ns
            if changed != self._planned_at:
                told = json.loads(path.read_text("utf-8"))
                self._images = [_planned(one) for one in told["images"]]
                self._planned_at, self._done = changed, {}
        except OSError:
            return False
        return True

    def _standing(
        self, image: PlannedImage, running: set[str], seen: dict[str, Record | None]
    ) -> Standing:
        outcomes = [image.outcome] if image.outcome else []
        for keys in image.steps:
            records = (self._record(key, seen) for key in keys)
            told = [one for record in records if record for one in record.outcomes]
            outcomes += [one for one in told if one.image == image.name][:1]
        bad = next((one for one in outcomes if one.status != "done"), None)
        part = len(outcomes) / max(1, len(image.steps))
        busy = running.intersection(key for keys in image.steps for key in keys)
        if bad is not None and not busy:
            return Standing(image.name, image.file, bad.status, reason=bad.reason, part=1.0)
        if part < 1 or busy:
            state: Literal["running", "waiting"] = "running" if busy or outcomes else "waiting"
            return Standing(image.name, image.file, state, part=min(part, 0.99))
        # The last step of a huge image counts the cells of all its blocks.
        last = outcomes[-1]
        return Standing(image.name, image.file, "done", last.cells, last.reason, 1.0)

    def _record(self, key: str, seen: dict[str, Record | None]) -> Record | None:
        if key in self._done:
            return self._done[key]
        if key not in seen:
            record = Record.read(record_path(self._out, key))
            seen[key] = record if record is not None and record.complete(self._out) else None
        record = seen[key]
        if record is not None and all(one.status == "done" for one in record.outcomes):
            self._done[key] = record
        return record


def _planned(told: dict[str, object]) -> PlannedImage:
    steps = tuple(tuple(keys) for keys in told["steps"])  # type: ignore[attr-defined]
    outcome = told["outcome"]
    return PlannedImage(
        str(told["name"]),
        str(told["file"]),
        steps,
        Outcome(**outcome) if isinstance(outcome, dict) else None,
    )
