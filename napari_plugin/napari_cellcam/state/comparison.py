"""Is the new model better than the old one, on the user's own cells? No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from cellcam.models.model import CellModel
    from cellcam.progress import Progress


@dataclass(frozen=True)
class Comparison:
    """Balanced accuracy of two models on the same cells.

    Attributes
    ----------
    n : cells
    new : of the new model, each cell judged by a network that had not seen it
    old : of the old model; None without one, or if it lacks a class
    old_has_seen : cells that the old model has learned from, which flatter it
    recall : part of the cells of each class that the new model calls right
    """

    n: int
    new: float
    old: float | None
    old_has_seen: int
    recall: dict[str, float]

    def text(self) -> str:
        """What it says, for the user."""
        text = f"On your {self.n} cells the new model is right in {self.new:.0%}"
        text += " (mean over the classes; each cell judged by a network that had not seen it)"
        if self.old is not None:
            text += f", the old model in {self.old:.0%}"
            if self.old_has_seen:
                text += f" (it has learned from {self.old_has_seen} of them, which flatters it)"
        worst = min(self.recall, key=self.recall.__getitem__)
        if self.recall[worst] == 1:
            return f"{text}."
        return f"{text}. Worst class: {worst}, {self.recall[worst]:.0%}."


def compare(
    new: Path, cells: Path, old: CellModel | None, old_folder: Path, progress: Progress
) -> Comparison:
    """Compare a model that was just trained with the one before.

    Parameters
    ----------
    new : its folder; networks that had not seen them judged its cells
    cells : table of `write_training`, with its crops
    old, old_folder : the model that was in use, or None, and its folder
    """
    import pandas as pd

    from cellcam.models.bundle import read_spec
    from cellcam.stacks.opening import open_crops

    progress(0, 1)
    judged = cast("dict[str, Any]", read_spec(new).training["validation"])
    table = pd.read_csv(cells, dtype={"cls": str}, keep_default_na=False)
    by_hand = table[table["by_hand"]]
    truth = by_hand["cls"].tolist()
    recall = {name: float(figures["recall"]) for name, figures in judged["per_class"].items()}
    accuracy, seen = None, 0
    if old is not None and set(truth) <= set(old.spec.classes):
        crops = np.asarray(open_crops(cells.with_name("crops.tif")).data)
        chosen = crops[by_hand["index"].to_numpy()]
        chosen = chosen if old.spec.spatial_dims == 3 else chosen[:, :, 0]
        calls = [old.spec.classes[i] for i in old.probabilities(chosen).argmax(1)]
        accuracy = _balanced(truth, calls)
        seen = _n_learned(old_folder, by_hand)
    return Comparison(int(judged["n"]), float(judged["balanced_accuracy"]), accuracy, seen, recall)


def _balanced(truth: list[str], calls: list[str]) -> float:
    """Mean over the classes of the part of their cells that is called right."""
    right: dict[str, list[bool]] = {name: [] for name in truth}
    for true, called in zip(truth, calls, strict=True):
        right[true].append(true == called)
    return float(np.mean([np.mean(values) for values in right.values()]))


def cells_of_training(model: Path) -> Path:
    """Table of the cells that a model of the window was trained on, beside its folder."""
    return model.with_name(f"{model.name}.cells") / "cells.csv"


def _n_learned(model: Path, cells: pd.DataFrame) -> int:
    """Cells that a model of the window was trained on."""
    import pandas as pd

    table = cells_of_training(model)
    return int(cells["crop"].isin(pd.read_csv(table)["crop"]).sum()) if table.is_file() else 0
