"""The planted benchmark: do explanations find the evidence, and expose a network that cheats?"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from cellcam.errors import UsageError
from cellcam.evaluate.statistics import Mean, bootstrap_mean
from cellcam.models.bundle import load_model
from cellcam.models.model import CellModel
from cellcam.progress import Progress, staged
from cellcam.reporting.cell_pictures import cell_picture
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.judging.explanation_evaluation import (
    ExplainedCells,
    ExplanationMetrics,
    measure_explanations,
)
from cellcam_training.judging.explanation_report import write_results
from cellcam_training.simulated.planted_cells import (
    CHANNELS,
    DIFFICULTIES,
    PlantedCells,
    simulate_cells,
)
from cellcam_training.simulated.planted_confounder import ConfounderResult, compare_confounded
from cellcam_training.simulated.planted_table import TEST_SEED, planted_model, write_planted

TRUTH = "the planted evidence"


@dataclass(frozen=True, eq=False)
class PlantedResult:
    """Result for one difficulty.

    Attributes
    ----------
    difficulty : key of `DIFFICULTIES`
    accuracy : of the network on new cells
    metrics : of the explanations of correctly called cells with evidence
    by_chance : mean share of the crop that the evidence fills
    stain_named : share of these cells whose largest channel share is that of a planted stain
    """

    difficulty: str
    accuracy: float
    metrics: ExplanationMetrics
    by_chance: float
    stain_named: Mean


def run_planted(
    out: Path,
    n_training: int = 800,
    n_test: int = 240,
    epochs: int = 30,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[list[PlantedResult], ConfounderResult]:
    """Simulate, train and evaluate all difficulties; write cells, models and results to a folder.

    Models that are in the folder already are not trained again.

    Raises
    ------
    UsageError
        If a network calls no cell correctly, so that there is nothing to explain.
    """
    results = []
    models: dict[str, CellModel] = {}
    for name in DIFFICULTIES:
        models[name] = _model(out / name, name, n_training, epochs, device, progress)
        stage = staged(progress, f"{name}, explaining")
        cells = simulate_cells(name, n_test, TEST_SEED)
        write_planted(out / name / "test", cells)
        results.append(_evaluated(out / name, name, models[name], cells, stage))
    leaky = _model(
        out / "confounded_leaky", "confounded", n_training, epochs, device, progress, leaky=True
    )
    confounder = compare_confounded(models["confounded"], leaky, n_test)
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
    """The model of a folder, trained unless it is there."""
    if (folder / "model").is_dir():
        return load_model(folder / "model", device)
    stage = staged(progress, f"{folder.name}, training")
    return planted_model(folder, difficulty, n_training, epochs, device, stage, leaky=leaky)


def _evaluated(
    folder: Path, name: str, model: CellModel, cells: PlantedCells, progress: Progress
) -> PlantedResult:
    """Evaluate the explanations of correctly called cells with evidence; write the results."""
    truth = np.array([model.spec.classes.index(cls) for cls in cells.classes], np.int64)
    correct = model.probabilities(cells.pixels).argmax(1) == truth
    rows = np.flatnonzero(correct & cells.evidence.any((1, 2, 3)))
    if not len(rows):
        raise UsageError(
            f"The network calls no cell with evidence correctly ({name}): train it on more cells "
            "(--cells) or longer (--epochs)."
        )
    evidence = cells.evidence[rows]
    place = np.logical_or.reduce(evidence, axis=1)
    planted_stains = np.logical_or.reduce(evidence, axis=(2, 3))
    explained = ExplainedCells(
        cells.pixels[rows],
        truth[rows],
        place,
        cells.bodies[rows],
        np.arange(len(rows)),
        TRUTH,
    )
    metrics = measure_explanations(model, explained, progress)
    shares = model.channel_shares(explained.pixels, torch.from_numpy(explained.explained))
    stain_named = planted_stains[np.arange(len(rows)), shares.argmax(1)]
    subtitle = (
        f"Planted evidence, {name}: {len(rows)} simulated cells with evidence that are called "
        f"correctly; {model.spec.network}, {model.spec.explaining}."
    )
    write_results(folder, "explanations", model, explained, metrics, subtitle)
    return PlantedResult(
        name,
        float(correct.mean()),
        metrics,
        float(place.mean()),
        bootstrap_mean(stain_named.astype(np.float64)),
    )


def _as_json(results: list[PlantedResult], confounder: ConfounderResult) -> dict[str, JsonValue]:
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
            "told_apart": confounder.auc,
            "fooled": confounder.fooled,
        },
    }
