r"""The transformer part of docs/evidence.md: maps of small ViTs that are trained here from nothing.

    python benchmarks/vit_evidence.py ../shared/data --out vit
    python benchmarks/vit_evidence.py ../shared/data --out vit --only plain

Trains torchvision's ViT, 8 x 8 patches and four blocks, on simulated cells with planted evidence
and on jurkat; chooses layer, formula and baseline on cells that judge nothing else; compares ours
with the rivals on others. Writes ``NAME.json`` for each and ``tables.md``. What is in the folder
is not done again. Some eight minutes of training each on two cores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import pandas as pd
import tifffile
import torch
import typer
from attention_lrp import attention_lrp
from candidates import RTOL, candidates
from cellcam_training.simulated.planted_cells import simulate_cells
from cellcam_training.simulated.planted_table import TEST_SEED, TRAINING_SEED
from evidence import SHOWN, figures_of
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from cellcam import IntegratedGradCAM
from cellcam.evaluate.comparison import costs, judge_methods, summary
from cellcam.evaluate.localisation import energy_inside, largest_inside
from cellcam.evaluate.method import Method
from cellcam.evaluate.metrics import METRICS
from cellcam.evaluate.rivals import OWN, compared_methods, own_method
from cellcam.evaluate.statistics import bootstrap_mean
from cellcam.explain.baselines import BaselineName
from cellcam.explain.integration.integral import Formula
from cellcam.stacks.writing import write_json

SETS = ("plain", "shared", "jurkat")
CHOOSING_SEED = TEST_SEED + 10
N_TRAINING = 2400  # simulated cells
BLOCKS, WIDTH, HEADS, GRID = 4, 48, 4, 8
# Of the last block only the class token is read, so the last layer with places is one before.
LAST = f"encoder.layers.encoder_layer_{BLOCKS - 2}"
LAYERS = ("encoder.dropout", *(f"encoder.layers.encoder_layer_{k}" for k in range(BLOCKS - 1)))
EPOCHS = {"plain": 20, "shared": 20, "jurkat": 16}
_BATCH, _RATE, _DECAY = 64, 2e-3, 0.05


@dataclass(frozen=True, eq=False)
class Cells:
    """Crops (N, C, y, x), the classes (N,) as numbers, and where the evidence lies."""

    pixels: Tensor
    classes: Tensor
    regions: Tensor

    def part(self, rows: Tensor | slice) -> Cells:
        """Some of the cells."""
        return Cells(self.pixels[rows], self.classes[rows], self.regions[rows])


def planted(name: str, cells: int) -> tuple[Cells, Cells, Cells, str]:
    """Cells that train, choose and judge, and what the regions are."""
    seeds = (TRAINING_SEED, N_TRAINING), (CHOOSING_SEED, cells), (TEST_SEED, cells)
    found = []
    for seed, n in seeds:
        drawn = simulate_cells(name, n, seed)
        names = sorted(set(drawn.classes))
        found.append(
            Cells(
                torch.from_numpy(drawn.pixels.astype(np.float32)),
                torch.tensor([names.index(cls) for cls in drawn.classes]),
                torch.from_numpy(drawn.evidence.any(1)),
            )
        )
    return (*found, "the planted evidence")


def jurkat(folder: Path, cells: int) -> tuple[Cells, Cells, Cells, str]:
    """Of the cells in `evidence_data`'s order the first 200 judge and choose, the rest train."""
    rows = pd.read_csv(folder / "index.csv").sample(frac=1, random_state=0)
    stacks = {name: tifffile.imread(folder / name) for name in rows["file"].unique()}
    masks = {name: tifffile.imread(folder / "auto_nucleus_masks" / name) for name in stacks}
    names = sorted(rows["phase4"].unique())
    places = list(zip(rows["file"], rows["index"], strict=True))
    read = Cells(
        torch.from_numpy(np.stack([stacks[f][i] for f, i in places]).astype(np.float32)),
        torch.tensor([names.index(cls) for cls in rows["phase4"]]),
        torch.from_numpy(np.stack([masks[f][i] > 0 for f, i in places])),
    )
    judging = slice(0, cells), slice(100, 100 + cells)
    training = read.part(slice(200, None))
    truth = "automatic nucleus masks (Otsu on the DNA channel)"
    return training, read.part(judging[1]), read.part(judging[0]), truth


def network_for(cells: Cells) -> VisionTransformer:
    """A small ViT with a class token; 8 x 8 patches."""
    torch.manual_seed(0)
    size = cells.pixels.shape[-1]
    return VisionTransformer(
        image_size=size,
        patch_size=size // GRID,
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        mlp_dim=2 * WIDTH,
        num_classes=int(cells.classes.max()) + 1,
    )


def train(network: nn.Module, x: Tensor, classes: Tensor, epochs: int) -> None:
    """AdamW, one cycle; every batch turned and mirrored in one of eight ways."""
    random = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    per_epoch = len(x) // _BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, epochs * per_epoch, pct_start=0.15)
    network.train()
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        order = torch.randperm(len(x), generator=random)
        for rows in order[: per_epoch * _BATCH].view(-1, _BATCH):
            way = int(torch.randint(8, (), generator=random))
            batch = torch.rot90(x[rows], way % 4, (2, 3))
            batch = batch.flip(3) if way >= 4 else batch
            loss = nn.functional.cross_entropy(network(batch), classes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {seconds:.1f} s", flush=True)
    network.eval()


def settings(own: IntegratedGradCAM) -> Iterator[Method]:
    """Every layer, formula and baseline, with 32 trapezoid steps."""
    names = product(LAYERS, get_args(Formula), get_args(BaselineName))
    for layer, formula, start in names:
        cam = IntegratedGradCAM(own.nn_module, layer, black=own.black, formula=formula)
        steps = {"method": "riemann_trapezoid", "n_steps": 32}
        yield own_method(f"{layer}, {formula}, {start}", cam, baselines=start, **steps)


def chosen(own: IntegratedGradCAM, x: Tensor, classes: Tensor, regions: Tensor) -> list[Any]:
    """EBPG and Bbox of every setting; an empty map counts like a constant one."""
    found, share = [], regions.flatten(1).double().mean(1)
    for method in settings(own):
        maps = method.maps(x, classes)
        points = maps.flatten(1).any(1)
        ebpg, bbox = (
            torch.where(points, metric(maps, regions).double(), share).numpy()
            for metric in (energy_inside, largest_inside)
        )
        found.append(
            {"setting": method.name, "ebpg": bootstrap_mean(ebpg), "bbox": bootstrap_mean(bbox)}
        )
    return found


def methods_for(own: IntegratedGradCAM, references: Tensor) -> list[Method]:
    """Ours, the rivals and the candidates."""
    network = own.nn_module
    assert isinstance(network, VisionTransformer)
    rivals = compared_methods(own, LAST, references)
    lrp = [attention_lrp(network), attention_lrp(network, through_queries=False)]
    return [*rivals[:-1], *lrp, rivals[-1], *candidates(own, LAYERS)]


def main(
    data: Annotated[Path, typer.Argument(help="Folder with the real data sets.")],
    out: Annotated[Path, typer.Option(help="Folder for networks, figures and tables.")],
    cells: Annotated[int, typer.Option(help="Cells that judge, of each set.")] = 100,
    only: Annotated[str | None, typer.Option(help="One of plain, shared, jurkat.")] = None,
    layer: Annotated[str, typer.Option(help="Of CellCam's maps.")] = LAST,
    threads: int = 2,
) -> None:
    """Train, choose and judge, as far as that is not done, and write the tables."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        if only in (None, name) and not (out / f"{name}.json").is_file():
            write_json(out / f"{name}.json", _judged(name, data, out, cells, layer))
    (out / "tables.md").write_text("\n".join(_tables(out)), "utf-8")


def _judged(name: str, data: Path, out: Path, n: int, layer: str) -> dict[str, Any]:
    if name == "jurkat":
        training, choosing, judging, truth = jurkat(data / "jurkat_ifc", n)
    else:
        training, choosing, judging, truth = planted(name, n)
    spread, mean = torch.std_mean(training.pixels, (0, 2, 3), keepdim=True)
    black = -mean / spread
    network = _trained(out / f"{name}.pt", name, training, mean, spread)
    own = IntegratedGradCAM(
        network, layer, black=black, formula="complete", baselines="background", rtol=RTOL
    )
    (x, classes, regions), accuracy = _explained(network, judging, mean, spread)
    references = (training.pixels[:500] - mean) / spread
    methods = methods_for(own, references)
    judged = judge_methods(methods, network, x, classes, black, regions, _said)
    judged.to_csv(out / f"{name}.csv", index=False)
    others, _ = _explained(network, choosing, mean, spread)
    table, cost = summary(judged, OWN), costs(judged)
    return {
        "truth": truth,
        "accuracy": accuracy,
        "by_chance": float(regions.double().mean()),
        "summary": json.loads(table.to_json(orient="records")),
        "costs": json.loads(cost.to_json(orient="records")),
        "choices": [
            {**row, "ebpg": list(row["ebpg"]), "bbox": list(row["bbox"])}
            for row in chosen(own, *others)
        ],
    }


def _trained(path: Path, name: str, cells: Cells, mean: Tensor, spread: Tensor) -> nn.Module:
    network = network_for(cells)
    if path.is_file():
        network.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(network, (cells.pixels - mean) / spread, cells.classes, EPOCHS[name])
        torch.save(network.state_dict(), path)
    return network.eval()


def _explained(
    network: nn.Module, cells: Cells, mean: Tensor, spread: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
    """Images, called classes and regions of correctly called cells with a region; the accuracy."""
    x = (cells.pixels - mean) / spread
    with torch.no_grad():
        called = network(x).argmax(1)
    right = called == cells.classes
    rows = right & cells.regions.flatten(1).any(1)
    return (x[rows], called[rows], cells.regions[rows]), float(right.double().mean())


def _said(done: int, total: int, name: str) -> None:
    print(f"{done} of {total}: {name}", flush=True)


def _tables(out: Path) -> Iterator[str]:
    """Markdown of everything that was judged."""
    for name in SETS:
        if (out / f"{name}.json").is_file():
            found = json.loads((out / f"{name}.json").read_text("utf-8"))
            yield from _one(name, found)
            yield from _choices(found["choices"])


def _one(name: str, found: dict[str, Any]) -> Iterator[str]:
    table = pd.DataFrame(found["summary"]).set_index(["method", "metric"])
    metrics = [m for m in METRICS if m.name in SHOWN]
    yield f"\n### {name}\n\n{int(table['n'].max())} cells; accuracy {found['accuracy']:.3f}; "
    yield f"regions: {found['truth']}, {found['by_chance']:.1%} of a crop.\n"
    arrows = [f"{m.title} {'↑' if m.higher_is_better else '↓'}" for m in metrics]
    yield "| " + " | ".join(["method", *arrows, "ms a map"]) + " |"
    yield "|" + "---|" * (len(metrics) + 2)
    for cost in found["costs"]:
        cells = figures_of(cost["method"], table, metrics)
        yield f"| {cost['method']} | " + " | ".join(cells) + f" | {1000 * cost['seconds']:.1f} |"


def _choices(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "\nSettings, on other cells:\n"
    yield "| setting | EBPG | Bbox |"
    yield "|---|---|---|"
    for row in found:
        texts = ["{:.3f} ({:.3f} to {:.3f})".format(*row[name]) for name in ("ebpg", "bbox")]
        yield f"| {row['setting']} | " + " | ".join(texts) + " |"


if __name__ == "__main__":
    typer.run(main)
