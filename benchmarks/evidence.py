r"""The figures of docs/evidence.md: are the explanations right, and which defaults are best?

    python benchmarks/evidence.py ../shared/data --out evidence

Trains a network on a part of each data set, judges maps of cells that it was not trained on, and
writes one report for each and ``tables.md``. What is in the folder already is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import pandas as pd
import torch
import typer
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.judging.explanation_evaluation import (
    ExplainedCells,
    measure_explanations,
    sampled_cells,
)
from cellcam_training.judging.explanation_report import write_results
from cellcam_training.simulated.planted_benchmark import run_planted
from cellcam_training.simulated.planted_cells import DIFFICULTIES, simulate_cells
from cellcam_training.simulated.planted_table import TEST_SEED
from cellcam_training.tables.cell_table import read_cell_table
from evidence_data import DATA_SETS
from torch import Tensor

from cellcam import IntegratedGradCAM, load_model
from cellcam.evaluate.faithfulness import class_probability, confidence_change
from cellcam.evaluate.localisation import energy_inside, largest_inside, points_inside
from cellcam.evaluate.method import Method
from cellcam.evaluate.metrics import METRICS, Metric
from cellcam.evaluate.rivals import OWN, compared_methods, own_method
from cellcam.evaluate.statistics import bootstrap_mean
from cellcam.explain.baselines import BaselineName
from cellcam.explain.integration.integral import Formula
from cellcam.models.model import CellModel
from cellcam.models.registry import network_entry
from cellcam.stacks.writing import write_json

SHOWN = ("ebpg", "bbox", "pointing", "drop", "increase", "insertion", "deletion")

# Settings are chosen on cells that judge nothing else.
CHOOSING_SEED = TEST_SEED + 10
CHOOSING_STEPS = {"method": "riemann_trapezoid", "n_steps": 32}
EARLIER = {
    "small_cnn": ("features.3", "features.1"),
    "cell_cnn": ("features.3", "features.1"),
    "resnet18": ("layer3", "layer2", "layer1"),
    "densenet121": ("features.denseblock3", "features.denseblock2", "features.denseblock1"),
}


def main(
    data: Annotated[Path, typer.Argument(help="Folder with the real data sets.")],
    out: Annotated[Path, typer.Option(help="Folder for models, reports and tables.")],
    cells: Annotated[int, typer.Option(help="Cells that judge, of each data set.")] = 100,
    threads: int = 2,
    only: Annotated[str | None, typer.Option(help="One data set, or planted.")] = None,
) -> None:
    """Judge everything that is not judged yet, and write the tables."""
    torch.set_num_threads(threads)
    if only in (None, "planted") and not (out / "planted" / "planted.json").is_file():
        run_planted(out / "planted", n_test=cells, device="cpu")
    for name in DATA_SETS:
        if only in (None, name) and not (out / name / "explanations.json").is_file():
            _judge(name, data, out / name, cells)
    for name, model, own in _chosen(data, out, cells):
        if only in (None, name.split("/")[0]) and not (out / name / "choices.json").is_file():
            write_json(out / name / "choices.json", _choices(model, own))
    (out / "tables.md").write_text("\n".join(_tables(out)), "utf-8")


def _model(name: str, data: Path, out: Path) -> tuple[CellModel, ExplainedCells]:
    """A network trained on the training cells, and cells of others that judge or choose."""
    prepared = DATA_SETS[name](data, out)
    if not (out / "model").is_dir():
        recipe = Recipe(epochs=prepared.epochs, all_cells=False, crop_size=prepared.crop_size)
        train_model(read_cell_table(prepared.training), recipe, out / "model", "cpu")
    model = load_model(out / "model", "cpu")
    table = read_cell_table(prepared.test, to_train=False)
    cells = sampled_cells(table, model, masks=prepared.masks)
    return model, replace(cells, truth=prepared.truth)


def _judge(name: str, data: Path, out: Path, most: int) -> None:
    model, cells = _model(name, data, out)
    cells = cells.part(np.flatnonzero(cells.groups % 2 == 0)[:most])
    spec = model.spec
    about = (
        f"{name}: {len(cells.explained)} cells that the network was not trained on; "
        f"{spec.network}, {spec.explaining}."
    )
    write_results(out, "explanations", model, cells, measure_explanations(model, cells), about)


def _chosen(data: Path, out: Path, most: int) -> Iterator[tuple[str, CellModel, ExplainedCells]]:
    """Models and the cells by which settings are chosen: planted and real ones."""
    for name in DIFFICULTIES:
        folder = out / "planted" / name / "model"
        if folder.is_dir():
            cells = simulate_cells(name, most, CHOOSING_SEED)
            model = load_model(folder, "cpu")
            called = model.probabilities(cells.pixels).argmax(1)
            rows = np.flatnonzero(cells.evidence.any((1, 2, 3)))
            evidence = cells.evidence[rows].any(1)
            own = ExplainedCells(cells.pixels[rows], called[rows], evidence, None, rows)
            yield f"planted/{name}", model, own
    for name in DATA_SETS:
        if (out / name / "model").is_dir():
            model, own = _model(name, data, out / name)
            yield name, model, own.part(np.flatnonzero(own.groups % 2 == 1)[:most])


def _settings(model: CellModel, x: Tensor) -> Iterator[Method]:
    """Plain Grad-CAM first, then every setting that could be the default."""
    network, black = model.network, model.black()
    last = network_entry(model.spec.network).cam_layer
    layers = [last, *EARLIER[model.spec.network]]
    for layer in layers:
        found = compared_methods(IntegratedGradCAM(network, layer, black=black), layer, x)
        plain = {method.name: method for method in found}
        for name in ("Grad-CAM", "LayerCAM"):
            yield replace(plain[name], name=f"plain {name} at {layer}")
    for score in ("probability", "log_probability"):
        cam = IntegratedGradCAM(network, last, black=black, **CHOOSING_STEPS, score=score)
        yield own_method(f"{last}, paper, black, {score}", cam)
    for layer, formula, start in product(layers, get_args(Formula), get_args(BaselineName)):
        cam = IntegratedGradCAM(network, layer, black=black, **CHOOSING_STEPS, formula=formula)
        yield own_method(f"{layer}, {formula}, {start}", cam, baselines=start)


def _choices(model: CellModel, cells: ExplainedCells) -> list[dict[str, Any]]:
    """Each setting against plain Grad-CAM, on the same cells."""
    x, classes = model.normalised(cells.pixels), torch.from_numpy(cells.explained)
    regions = torch.from_numpy(cells.regions)
    seen = regions.flatten(1).any(1)
    share = regions.flatten(1).double().mean(1)
    own = cells.groups[seen.numpy()]
    found: list[dict[str, Any]] = []
    first = None
    for method in _settings(model, x):
        maps = method.maps(x, classes)
        points = maps.flatten(1).any(1)
        ebpg, bbox, pointing = (
            torch.where(points, metric(maps, regions), share)[seen].numpy()
            for metric in (energy_inside, largest_inside, points_inside)
        )
        drop = confidence_change(class_probability(model.network), x, classes, maps, model.black())
        first = ebpg if first is None else first
        found.append(
            {
                "setting": method.name,
                "ebpg": bootstrap_mean(ebpg, own),
                "difference": bootstrap_mean(ebpg - first, own),
                "bbox": float(bbox.mean()),
                "pointing": float(pointing.mean()),
                "drop": 100 * float(drop.drop.mean()),
                "empty": float((~points).double().mean()),
                "n": len(ebpg),
            }
        )
    return found


def _tables(out: Path) -> Iterator[str]:
    """Markdown of everything that was judged."""
    for folder in [
        *(out / "planted" / name for name in DIFFICULTIES),
        *map(out.joinpath, DATA_SETS),
    ]:
        name = f"planted: {folder.name}" if folder.parent.name == "planted" else folder.name
        if (folder / "explanations.json").is_file():
            yield from _one(name, json.loads((folder / "explanations.json").read_text("utf-8")))
        if (folder / "choices.json").is_file():
            yield from _settings_table(json.loads((folder / "choices.json").read_text("utf-8")))
    if (out / "planted" / "planted.json").is_file():
        yield "\n```\n" + (out / "planted" / "planted.json").read_text("utf-8") + "\n```"


def figures_of(method: str, table: pd.DataFrame, metrics: list[Metric]) -> list[str]:
    """Mean, interval, and whether it is worse or better than ours, of each metric."""
    cells = []
    for metric in metrics:
        row = table.loc[(method, metric.name)]
        digits = 1 if metric.percent else 3
        sign = ""
        if method != OWN and row["p"] is not None and row["p"] < 0.05:
            sign = " ▼" if (row["difference"] > 0) == metric.higher_is_better else " ▲"
        mean, low, high = (f"{row[k]:.{digits}f}" for k in ("mean", "low", "high"))
        cells.append(f"{mean} ({low} to {high}){sign}")
    return cells


def _one(name: str, found: dict[str, Any]) -> Iterator[str]:
    table = pd.DataFrame(found["summary"]).set_index(["method", "metric"])
    metrics = [m for m in METRICS if m.name in SHOWN and m.name in table.index.levels[1]]
    n = int(table["n"].max())
    yield f"\n### {name}\n\n{n} cells.\n"
    arrows = [f"{m.title} {'↑' if m.higher_is_better else '↓'}" for m in metrics]
    yield "| " + " | ".join(["method", *arrows, "ms a map", "empty"]) + " |"
    yield "|" + "---|" * (len(metrics) + 3)
    for cost in found["costs"]:
        cells = figures_of(cost["method"], table, metrics)
        yield (
            f"| {cost['method']} | "
            + " | ".join(cells)
            + f" | {1000 * cost['seconds']:.1f} | {cost['empty']:.0%} |"
        )
    yield ""
    for check in found["checks"]:
        passed = "passed" if check["passed"] else "**failed**"
        yield (
            f"- {check['name']}: {check['value']:.4f} ({check['low']:.4f} to {check['high']:.4f}), "
            f"{passed}"
        )


def _settings_table(found: list[dict[str, Any]]) -> Iterator[str]:
    yield f"\nSettings, {found[0]['n']} other cells, beside {found[0]['setting']}:\n"
    yield "| setting | EBPG | beyond Grad-CAM | Bbox | pointing | Drop % | empty |"
    yield "|---|---|---|---|---|---|---|"
    for row in found:
        mean, low, high = row["ebpg"]
        apart = row["difference"]
        yield (
            f"| {row['setting']} | {mean:.3f} ({low:.3f} to {high:.3f}) | {apart[0]:+.3f} "
            f"({apart[1]:+.3f} to {apart[2]:+.3f}) | {row['bbox']:.3f} | {row['pointing']:.2f} | "
            f"{row['drop']:.1f} | {row['empty']:.0%} |"
        )


if __name__ == "__main__":
    typer.run(main)
