"""The course of a training, decided before it begins: network, schedule, who judges which cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam_training.fitting.data_split import fold_numbers, validation_cells
from cellcam_training.fitting.initial_model import chosen_network
from cellcam_training.fitting.recipe import Recipe, schedule_of
from cellcam_training.tables.cell_table import CellTable, group_numbers
from cellcam_training.tables.crops import CropSet

# Above this number of cells, training on the validation cells too gains nothing.
_MANY_CELLS = 20_000
# Parts in which a frozen training validates all cells, which costs nothing there.
_FROZEN_FOLDS = 5


@dataclass(frozen=True)
class Course:
    """What a training will do.

    Attributes
    ----------
    recipe : with network, epochs, batch size and label smoothing
    why_network : reason for the network
    judge_of : (N,) number of the network that is trained without each cell and judges it; -1: none
    again : whether a last network is trained on all cells
    without_judge : classes of which no cell is judged, so that nothing is known of them
    unseen : classes of which a judging network has no cell to train on
    """

    recipe: Recipe
    why_network: str
    judge_of: NDArray[np.int64]
    again: bool
    without_judge: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def n_judges(self) -> int:
        """Number of networks that are validated."""
        return int(self.judge_of.max()) + 1

    @property
    def n_networks(self) -> int:
        """Number of networks that are trained."""
        return self.n_judges + self.again

    def warnings(self) -> tuple[str, ...]:
        """What the metrics will not say."""
        warnings = []
        if self.without_judge:
            warnings.append(
                f"No cell of {', '.join(self.without_judge)} is kept for validation: the metrics "
                "say nothing of these classes. Label cells of more groups."
            )
        if self.unseen:
            warnings.append(
                f"All cells of {', '.join(self.unseen)} are kept for validation, so that a network "
                "is judged on classes that it has never seen: the metrics are too bad. Label cells "
                "of more groups."
            )
        return tuple(warnings)


def course_of(table: CellTable, crops: CropSet, recipe: Recipe) -> Course:
    """Decide what the recipe leaves open.

    Once the validation cells have determined the number of epochs and the temperature, another
    network is trained in the same way on all cells, because more cells give a better network.
    This is left out if there are many cells, or if the table has a split.

    Raises
    ------
    InputError
        If the cells cannot be split as the recipe says.
    """
    network, why = chosen_network(recipe, crops.crop_size, len(crops.pixels))
    judge_of = _judges(table.rows, recipe)
    # All networks get the same schedule: the temperature of the judges must suit the last.
    schedule = schedule_of(recipe, int((judge_of != 0).sum()))
    if recipe.frozen:
        schedule = schedule._replace(epochs=1)
    table_has_split = (table.rows["split"] != "").any()
    again = judge_of.max() > 0 or (
        recipe.all_cells and len(judge_of) <= _MANY_CELLS and not table_has_split
    )
    judged = set(table.rows["cls"][judge_of >= 0])
    trained = [set(table.rows["cls"][judge_of != k]) for k in range(int(judge_of.max()) + 1)]
    return Course(
        recipe.model_copy(update={"network": network, **schedule._asdict()}),
        why,
        judge_of,
        bool(again),
        tuple(name for name in table.classes if name not in judged),
        tuple(name for name in table.classes if not all(name in seen for seen in trained)),
    )


def _judges(rows: pd.DataFrame, recipe: Recipe) -> NDArray[np.int64]:
    """Number (N,) of the network that is trained without each cell and judges it; -1: none."""
    folds = recipe.validation_folds or _folds_of_frozen(rows, recipe)
    if not folds:
        held_out = validation_cells(rows, recipe.validation_share, recipe.seed)
        return np.where(held_out, 0, -1)
    if (rows["split"] != "").any():
        raise InputError(
            "The table has a split column, and the recipe has validation_folds. Leave out one of "
            "them: folds split the cells, too."
        )
    return fold_numbers(rows, folds, recipe.seed)


def _folds_of_frozen(rows: pd.DataFrame, recipe: Recipe) -> int | None:
    """Parts in which a frozen training validates all cells; None where the table says which."""
    if not recipe.frozen or (rows["split"] != "").any():
        return None
    fewest = min(len(set(group_numbers(rows))), int(rows["cls"].value_counts().min()))
    return min(_FROZEN_FOLDS, fewest) if fewest > 1 else None
