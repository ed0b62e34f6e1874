"""Does an importance map expose a network that learnt a confounder instead of the class?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.evaluate.localisation import energy_inside
from cellcam.evaluate.statistics import Mean, bootstrap_mean
from cellcam.models.model import CellModel
from cellcam.reporting.cell_pictures import ShownCell
from cellcam_training.simulated.planted_cells import LEAKING_CLASS, simulate_cells, with_stripes
from cellcam_training.simulated.planted_table import TEST_SEED

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class ConfounderResult:
    """Two networks on the same striped cells of the class that the stripe predicts.

    Attributes
    ----------
    outside_cheating, outside_honest : mean share of the importance outside the cell
    on_stripe_cheating, on_stripe_honest : mean share of the importance on the stripe
    auc : probability that a map of the cheating network has more importance outside the
        cell than a map of the honest network (area under the ROC curve)
    fooled : share of the cells of other classes that the cheating network assigns to this class
    shown : cells with the maps of the honest and of the cheating network
    """

    outside_cheating: Mean
    outside_honest: Mean
    on_stripe_cheating: Mean
    on_stripe_honest: Mean
    auc: float
    fooled: float
    shown: tuple[ShownCell, ...]


def compare_confounded(honest: CellModel, cheating: CellModel, n_cells: int) -> ConfounderResult:
    """Compare a network trained on fair cells with a network trained on leaky cells.

    Parameters
    ----------
    honest, cheating : trained on ``confounded`` cells, fair and leaky, see `simulate_cells`
    n_cells : number of test cells of all classes
    """
    plain = simulate_cells("confounded", n_cells, TEST_SEED + 1)
    striped = with_stripes(plain, TEST_SEED)
    names = np.array(striped.classes)
    rows = np.flatnonzero(names == LEAKING_CLASS)
    k = honest.spec.classes.index(LEAKING_CLASS)
    maps = [
        model.explain(striped.pixels[rows], k).importance[:, 0].cpu().double()
        for model in (honest, cheating)
    ]
    outside = [_share_in(of_model, ~striped.bodies[rows]) for of_model in maps]
    on_stripe = [_share_in(of_model, striped.stripes[rows]) for of_model in maps]
    other_classes = striped.pixels[names != LEAKING_CLASS]
    shown = tuple(
        ShownCell(
            striped.pixels[row],
            np.stack([of_model[i].float().numpy() for of_model in maps]),
            f"outside the cell: honest {outside[0][i]:.0%}, cheating {outside[1][i]:.0%}",
        )
        for i, row in enumerate(rows[:_SHOWN])
    )
    return ConfounderResult(
        outside_cheating=bootstrap_mean(outside[1]),
        outside_honest=bootstrap_mean(outside[0]),
        on_stripe_cheating=bootstrap_mean(on_stripe[1]),
        on_stripe_honest=bootstrap_mean(on_stripe[0]),
        auc=float((outside[1][:, None] > outside[0][None]).mean()),
        fooled=float((cheating.probabilities(other_classes).argmax(1) == k).mean()),
        shown=shown,
    )


def _share_in(maps: torch.Tensor, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each map in its region; 0 for an empty map."""
    share: NDArray[np.float64] = energy_inside(maps, torch.from_numpy(regions)).numpy()
    return np.nan_to_num(share)
