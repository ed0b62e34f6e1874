"""Do explanations find evidence that was planted, and expose a network that cheats?"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.errors import UsageError
from cellcam.evaluate.localisation import energy_inside
from cellcam.evaluate.statistics import Mean, bootstrap_mean
from cellcam.models.bundle import load_model
from cellcam.models.model import CellModel
from cellcam.progress import Progress
from cellcam.reporting.cell_pictures import ShownCell, cell_picture
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.explanation_evaluation import (
    ExplanationFigures,
    JudgedCells,
    judge_explanations,
)
from cellcam_training.judging.explanation_report import write_results
from cellcam_training.simulated.planted_cells import (
    CHANNELS,
    DIFFICULTIES,
    LEAKING_CLASS,
    PlantedCells,
    simulate_cells,
    with_stripes,
)
from cellcam_training.simulated.planted_data import TEST_SEED, planted_model, write_planted

TRUTH = "what was planted"


@dataclass(frozen=True, eq=False)
class PlantedResult:
    """One difficulty.

    Attributes
    ----------
    difficulty : of `DIFFICULTIES`
    accuracy : of the network on new cells
    figures : of the cells that are called rightly and carry evidence
    by_chance : part of the crop that the evidence fills
    stain_named : whether the largest channel share is that of a planted stain
    """

    difficulty: str
    accuracy: float
    figures: ExplanationFigures
    by_chance: float
    stain_named: Mean


@dataclass(frozen=True, eq=False)
class ConfounderResult:
    """Two networks on the same cells, all of the class that the stripe gives away.

    Attributes
    ----------
    outside_cheating, outside_honest : mean part of the importance outside the cell
    on_stripe_cheating, on_stripe_honest : of it on the stripe
    told_apart : part of the pairs of cells in which the cheating network shows more outside
    fooled : part of the cells without evidence that the cheating network calls by the stripe
    shown : cells with the maps of the honest and of the cheating network
    """

    outside_cheating: Mean
    outside_honest: Mean
    on_stripe_cheating: Mean
    on_stripe_honest: Mean
    told_apart: float
    fooled: float
    shown: tuple[ShownCell, ...]


def run_planted(
    out: Path,
    n_training: int = 800,
    n_test: int = 240,
    epochs: int = 30,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[list[PlantedResult], ConfounderResult]:
    """Simulate, train and judge all difficulties; write cells, models and results to a folder.

    A difficulty whose model is there already is not trained again.

    Raises
    ------
    UsageError
        If a network has learnt nothing, so that there is no right call to explain.
    """
    results = []
    models: dict[str, CellModel] = {}
    for name in DIFFICULTIES:
        models[name] = _model(out / name, name, n_training, epochs, device, progress)
        cells = simulate_cells(name, n_test, TEST_SEED)
        write_planted(out / name / "test", cells)
        results.append(_judged(out / name, name, models[name], cells))
    leaky = _model(
        out / "confounded_leaky", "confounded", n_training, epochs, device, progress, leaky=True
    )
    confounder = _confounder(models["confounded"], leaky, n_test)
    for number, cell in enumerate(confounder.shown, start=1):
        with whole_file(out / f"confounder_{number}.png") as temporary:
            temporary.write_bytes(base64.b64decode(cell_picture(cell)["picture"]))
    write_json(out / "planted.json", _as_json(results, confounder))
    return results, confounder


def _model(
    folder: Path,
    difficulty: str,
    n_training: int,
    epochs: int,
    device: str,
    progress: Progress | None,
    *,
    leaky: bool = False,
) -> CellModel:
    if (folder / "model").is_dir():
        return load_model(folder / "model", device)
    return planted_model(folder, difficulty, n_training, epochs, device, progress, leaky=leaky)


def _judged(folder: Path, name: str, model: CellModel, cells: PlantedCells) -> PlantedResult:
    truth = np.array([model.spec.classes.index(own) for own in cells.classes], np.int64)
    right = model.probabilities(cells.pixels).argmax(1) == truth
    rows = np.flatnonzero(right & cells.evidence.any((1, 2, 3)))
    if not len(rows):
        raise UsageError(
            f"The network calls none of the cells with evidence rightly ({name}): train it on more "
            "cells (--cells) or longer (--epochs)."
        )
    evidence = cells.evidence[rows]
    place = np.logical_or.reduce(evidence, axis=1)
    planted = np.logical_or.reduce(evidence, axis=(2, 3))
    chosen = JudgedCells(
        cells.pixels[rows],
        truth[rows],
        place,
        cells.bodies[rows],
        np.arange(len(rows)),
        TRUTH,
    )
    figures = judge_explanations(model, chosen)
    shares = model.channel_shares(chosen.pixels, torch.from_numpy(chosen.explained))
    named = planted[np.arange(len(rows)), shares.argmax(1)]
    about = (
        f"Planted truth, {name}: {len(rows)} simulated cells that carry evidence and are called "
        f"rightly; {model.spec.network}, {model.spec.explaining}."
    )
    write_results(folder, "explanations", model, chosen, figures, about)
    return PlantedResult(
        name,
        float(right.mean()),
        figures,
        float(place.mean()),
        bootstrap_mean(named.astype(np.float64)),
    )


def _confounder(honest: CellModel, cheating: CellModel, n_test: int) -> ConfounderResult:
    plain = simulate_cells("confounded", n_test, TEST_SEED + 1)
    striped = with_stripes(plain, TEST_SEED)
    names = np.array(striped.classes)
    rows = np.flatnonzero(names == LEAKING_CLASS)
    k = honest.spec.classes.index(LEAKING_CLASS)
    maps = [
        model.explain(striped.pixels[rows], k).importance[:, 0].cpu().double()
        for model in (honest, cheating)
    ]
    outside = [_part(own, ~striped.bodies[rows]) for own in maps]
    stripe = [_part(own, striped.stripes[rows]) for own in maps]
    without = striped.pixels[names != LEAKING_CLASS]
    shown = tuple(
        ShownCell(
            striped.pixels[row],
            np.stack([own[i].float().numpy() for own in maps]),
            f"outside the cell: honest {outside[0][i]:.0%}, cheating {outside[1][i]:.0%}",
        )
        for i, row in enumerate(rows[:6])
    )
    return ConfounderResult(
        bootstrap_mean(outside[1]),
        bootstrap_mean(outside[0]),
        bootstrap_mean(stripe[1]),
        bootstrap_mean(stripe[0]),
        float((outside[1][:, None] > outside[0][None]).mean()),
        float((cheating.probabilities(without).argmax(1) == k).mean()),
        shown,
    )


def _part(maps: torch.Tensor, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Part of each map in its region; of an empty map, none."""
    found: NDArray[np.float64] = energy_inside(maps, torch.from_numpy(regions)).numpy()
    return np.nan_to_num(found)


def _as_json(results: list[PlantedResult], confounder: ConfounderResult) -> dict[str, Any]:
    return {
        "channels": list(CHANNELS),
        "difficulties": [
            {
                "difficulty": r.difficulty,
                "accuracy": r.accuracy,
                "by_chance": r.by_chance,
                "stain_named": r.stain_named._asdict(),
            }
            for r in results
        ],
        "confounder": {
            "outside_cheating": confounder.outside_cheating._asdict(),
            "outside_honest": confounder.outside_honest._asdict(),
            "on_stripe_cheating": confounder.on_stripe_cheating._asdict(),
            "on_stripe_honest": confounder.on_stripe_honest._asdict(),
            "told_apart": confounder.told_apart,
            "fooled": confounder.fooled,
        },
    }
