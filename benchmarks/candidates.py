r"""Candidates for CellCam's default: fused layers, and baselines drawn from real background.

    python benchmarks/candidates.py evidence/planted/plain/model --difficulty plain

EBPG and Bbox of each candidate beside CellCam's default, on simulated cells that judge nothing
else. ``vit_evidence.py`` asks for the same candidates of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from cellcam_training.simulated.planted_cells import simulate_cells
from cellcam_training.simulated.planted_table import TEST_SEED
from torch import Tensor

from cellcam import IntegratedGradCAM, load_model
from cellcam.evaluate.comparison import judge_methods, summary
from cellcam.evaluate.method import Method
from cellcam.evaluate.rivals import OWN, own_method

Start = Callable[[Tensor, torch.Generator], Tensor]

RTOL = 0.05  # CellCam's own
DRAWS = 4
LAYERS = {
    "small_cnn": ("features.1", "features.3", "features"),
    "cell_cnn": ("features.1", "features.3", "features.6"),
}


def candidates(own: IntegratedGradCAM, layers: Sequence[str]) -> list[Method]:
    """Own settings at each layer, fused over all of them, and from other baselines.

    Parameters
    ----------
    own : formula and baseline; its layer is the one of the other baselines
    layers : names from the input on
    """
    at = {layer: _at(own, layer) for layer in layers}
    single = [own_method(f"at {layer}", cam) for layer, cam in at.items()]
    fused = [
        _mean(f"mean of {', '.join(some)}", [own_method("", at[layer]) for layer in some])
        for some in (layers, layers[1:], layers[:2])
    ]
    settled = _at(own, str(own.target_layers))
    starts: dict[str, Start] = {
        f"from pixels of the border, mean of {DRAWS} draws": drawn_from_border,
        f"from a stretch of the border, mean of {DRAWS} draws": mirrored_border,
    }
    drawn = [
        _mean(name, [own_method("", settled, baselines=_draw(start, k)) for k in range(DRAWS)])
        for name, start in starts.items()
    ]
    product = _product(f"product of {', '.join(layers)}", [own_method("", c) for c in at.values()])
    named = [own_method(f"from {name}", settled, baselines=name) for name in ("black", "blur")]
    return [*single, *fused, product, *named, *drawn]


def drawn_from_border(x: Tensor, random: torch.Generator) -> Tensor:
    """Background (N, C, y, x) of pixels drawn from the edge of each image, all stains together."""
    edge = _border(x)
    drawn = torch.randint(edge.shape[2], (len(x), 1, x.shape[2] * x.shape[3]), generator=random)
    return edge.gather(2, drawn.expand(-1, x.shape[1], -1)).view_as(x)


def mirrored_border(x: Tensor, random: torch.Generator) -> Tensor:
    """Background whose rows are the top edge of each image, or another edge, moved along at random.

    Neighbours along a row stay neighbours, as in real background.
    """
    edges = torch.stack([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], 1)
    n, rows, length = len(x), x.shape[2], edges.shape[-1]
    side = torch.randint(4, (n, rows), generator=random)
    shift = torch.randint(length, (n, rows, 1), generator=random)
    place = (torch.arange(x.shape[3]) + shift) % length
    image = torch.arange(n)[:, None, None]
    # (N, rows, x, C)
    return edges[image, side[..., None], :, place].permute(0, 3, 1, 2)


def _border(x: Tensor) -> Tensor:
    edges = [x[..., 0, :], x[..., -1, :], x[..., 1:-1, 0], x[..., 1:-1, -1]]
    return torch.cat(edges, 2)


def _draw(start: Start, seed: int) -> Callable[[Tensor], Tensor]:
    return lambda x: start(x, torch.Generator().manual_seed(seed))


def _at(own: IntegratedGradCAM, layer: str) -> IntegratedGradCAM:
    run = own.settings
    return IntegratedGradCAM(
        own.nn_module,
        layer,
        black=own.black,
        formula=run.formula,
        baselines=run.baselines,
        rtol=RTOL,
        error_factor=run.error_factor,
    )


def _shares(maps: Tensor) -> Tensor:
    """Maps (N, y, x), each of which adds up to 1, or 0 where it is empty."""
    total = maps.flatten(1).sum(1).view(-1, 1, 1)
    return torch.where(total > 0, maps / total, 0)


def _mean(name: str, methods: Sequence[Method]) -> Method:
    def maps(x: Tensor, classes: Tensor) -> Tensor:
        return torch.stack([_shares(method.maps(x, classes)) for method in methods]).mean(0)

    return Method(name, "cellcam", maps)


def _product(name: str, methods: Sequence[Method]) -> Method:
    """The geometric mean, as RefineCAM multiplies the maps of layers."""

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        parts = torch.stack([_shares(method.maps(x, classes)) for method in methods])
        return parts.prod(0) ** (1 / len(methods))

    return Method(name, "cellcam", maps)


def main(
    model: Annotated[Path, typer.Argument(help="Model folder, trained on simulated cells.")],
    difficulty: Annotated[str, typer.Option(help="Of the simulated cells.")] = "plain",
    cells: int = 100,
    threads: int = 1,
) -> None:
    """Print EBPG and Bbox of each candidate, and its distance to the default."""
    torch.set_num_threads(threads)
    loaded = load_model(model, "cpu")
    spec, own = loaded.spec, loaded.explainer
    seen = simulate_cells(difficulty, cells, TEST_SEED + 10)
    called = loaded.probabilities(seen.pixels).argmax(1)
    truth = np.array([spec.classes.index(name) for name in seen.classes])
    rows = np.flatnonzero((called == truth) & seen.evidence.any((1, 2, 3)))
    x, classes = loaded.normalised(seen.pixels[rows]), torch.from_numpy(called[rows])
    regions = torch.from_numpy(seen.evidence[rows].any(1))
    methods = [own_method(OWN, own, rtol=RTOL), *candidates(own, LAYERS[spec.network])]
    judged = judge_methods(methods, loaded.network, x, classes, loaded.black(), regions)
    print("\n".join(lines(summary(judged, OWN))))


def lines(table: pd.DataFrame) -> list[str]:
    """Markdown: mean and interval of EBPG and Bbox, and what each is beyond the default."""
    found = ["| | EBPG | beyond the default | Bbox | beyond the default |", "|---|---|---|---|---|"]
    by_method = table.set_index(["method", "metric"])
    for name in table["method"].unique():
        texts = []
        for metric in ("ebpg", "bbox"):
            row = by_method.loc[(name, metric)]
            texts.append(f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})")
            low, high = -row["difference_high"], -row["difference_low"]
            texts.append(f"{-row['difference']:+.3f} ({low:+.3f} to {high:+.3f})")
        found.append(f"| {name} | " + " | ".join(texts) + " |")
    return found


if __name__ == "__main__":
    typer.run(main)
