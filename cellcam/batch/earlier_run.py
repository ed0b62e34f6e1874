"""What became of the results of an earlier run in the same folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cellcam.batch.job import Job
from cellcam.batch.plan import Item, Plan
from cellcam.batch.records import cells_path


@dataclass(frozen=True)
class EarlierRun:
    """An earlier run in the folder, seen before this one begins its work.

    Attributes
    ----------
    was_other : whether it had another request, model or engine, or other code
    finished : names of the images of this run that it had finished
    """

    was_other: bool
    finished: frozenset[str]

    @classmethod
    def seen(cls, plan: Plan, todo: Collection[Item], job: Job) -> EarlierRun:
        """Look at the folder.

        Parameters
        ----------
        todo : items of the plan that are still to be run
        """
        unfinished = {image.name for item in todo for image in item.images}
        planned = {image.name for item in plan.items for image in item.images}
        fingerprint = _fingerprint(job.out)
        return cls(fingerprint not in (None, job.fingerprint), frozenset(planned - unfinished))

    def sentences(self, plan: Plan, done: Collection[str], job: Job) -> tuple[str, ...]:
        """What this run kept, replaced and left alone, for the user.

        Parameters
        ----------
        done : names of the images that have results now
        """
        said = []
        if kept := len(self.finished.intersection(done)):
            said.append(f"{kept} of {len(done)} images were finished before, and kept.")
        if self.was_other:
            said.append(
                "An earlier run in this folder had another request, model, engine or version of "
                "CellCam: its results were replaced."
            )
        if others := _others(plan, job):
            said.append(
                f"The folder also holds results of {len(others)} images that are not part of this "
                f"run, such as {others[0]}. They are in none of its tables."
            )
        return tuple(said)


def _fingerprint(out: Path) -> str | None:
    try:
        found = json.loads((out / "run.json").read_text("utf-8"))
        return str(found["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _others(plan: Plan, job: Job) -> list[str]:
    """Names of images that have results here and are no input of this run."""
    ending = cells_path(job.out, "").name + ".parquet"
    found = job.images.rglob(f"*{ending}")
    names = {path.relative_to(job.images).as_posix().removesuffix(ending) for path in found}
    return sorted(names - {image.name for image in plan.images})
