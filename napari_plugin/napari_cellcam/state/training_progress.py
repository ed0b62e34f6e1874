"""How far a training in a child process is, from the files that it writes. No Qt here."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field
from pathlib import Path

from napari_cellcam.state.training_cells import FOLDS

# Each judges its part of the cells; the last is trained on all cells.
_NETWORKS = [*(f"final/fold_{k}" for k in range(FOLDS)), "final/all_cells"]


@dataclass
class TrainingProgress:
    """Follows one training.

    Parameters
    ----------
    scratch : folder of the unfinished training, ``MODEL.training``
    """

    scratch: Path
    started: float = field(default_factory=time.monotonic)

    def accuracies(self) -> list[float]:
        """Balanced accuracy of the network that trains now, epoch by epoch, on its validation."""
        for name in reversed(_NETWORKS):
            values = [
                float(row["balanced_accuracy"])
                for row in self._rows(name)
                if row.get("balanced_accuracy")
            ]
            if values:
                return values
        return []

    def text(self) -> str:
        """Which network of how many, and the time left as far as it can be told."""
        epochs = [len(self._rows(name)) for name in _NETWORKS]
        running = max((i for i, n in enumerate(epochs) if n), default=None)
        if running is None:
            return "Training: loading torch, reading cells..."
        what = "to judge it" if running < len(_NETWORKS) - 1 else "the final model"
        text = (
            f"Training network {running + 1} of {len(_NETWORKS)} ({what}), epoch {epochs[running]}"
        )
        if running == 0:
            return f"{text}."
        each = max(epochs[:running])
        done = running * each + epochs[running]
        spent = time.monotonic() - self.started
        left = spent / done * (len(_NETWORKS) * each - done)
        return f"{text} of {each}. About {_duration(left)} left."

    def _rows(self, network: str) -> list[dict[str, str]]:
        try:
            path = self.scratch / network / "metrics.csv"
            with open(path, newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except OSError:
            return []  # not written yet, or moved into the finished model


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
