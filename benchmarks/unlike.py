r"""Does CellCam notice cells that its model cannot know?

    python benchmarks/unlike.py jurkat ../shared/data/jurkat_ifc/index.csv --class-column phase4
    python benchmarks/unlike.py mitocheck ../shared/data/mitocheck_h2b/index.csv \
        --leave-out Interphase,Apoptosis,OutOfFocus,Metaphase

A quarter of the cells is held out. Prints how many of them are flagged as unlike, how many after
each distortion, and what is said to differ. Then a class is left out of the training: AUROC of
`unlike` between its cells and held-out cells of the other classes, beside that of the network's
maximum softmax probability, which needs a training for each class.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import fit_model
from cellcam_training.fitting.training_cells import measure_training_cells, measured_cells
from cellcam_training.tables.cell_table import CellTable, group_numbers, read_cell_table
from cellcam_training.tables.crops import CropSet, CropSettings, read_crops
from numpy.typing import NDArray
from scipy import ndimage

from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import TrainingCells
from cellcam.models.unlike import Unlikeness, unlike_cells

Floats = NDArray[np.float32]


def main(
    name: str,
    table: Path,
    class_column: str = "cls",
    group_column: str | None = None,
    leave_out: Annotated[str, typer.Option(help="Classes; each costs a training.")] = "",
    other: Annotated[Path | None, typer.Option(help="Table of other cells; a training.")] = None,
    other_classes: Annotated[str, typer.Option(help="Its column of classes.")] = "cls",
    other_channels: Annotated[str, typer.Option(help="Numbers of its channels, from 0.")] = "0",
    epochs: int = 25,
    threads: int = 2,
) -> None:
    """Print the figures of docs/reliability.md about cells unlike the training cells."""
    torch.set_num_threads(threads)
    cells = read_cell_table(table, class_column, group_column)
    crops = read_crops(cells, Recipe().crop_settings())
    test = _held_out(cells)
    known = _Known.of(cells, crops, ~test)
    held = known.unlike(crops.pixels[test])
    print(f"{name}: {test.sum()} held-out cells, {_flagged(held):.1%} flagged")
    shown = crops.pixels[np.flatnonzero(test)[:300]]
    for distortion, distorted in _distortions(shown).items():
        seen = known.unlike(distorted)
        said, n = Counter(text for text in seen.differs if text).most_common(1)[0]
        print(f"| {distortion} | {_flagged(seen):.1%} | {said} ({n / len(shown):.0%}) |")
    recipe = Recipe(epochs=epochs, all_cells=False)
    for left_out in filter(None, leave_out.split(",")):
        _without_class(left_out, cells, crops, test, recipe)
    if other is not None:
        settings = CropSettings(crop_size=crops.crop_size)
        others = read_crops(read_cell_table(other, other_classes, None), settings)
        strange = others.pixels[:, list(map(int, other_channels.split(",")))]
        name = f"cells of {other.parent.name}"
        _told_apart(name, cells, crops, ~test, recipe, test, strange)


class _Known:
    """Training cells with the normalisation in which they were measured."""

    def __init__(
        self, cells: TrainingCells, normalisation: Normalisation, channels: tuple[str, ...]
    ) -> None:
        self.cells, self.normalisation, self.channels = cells, normalisation, channels

    @classmethod
    def of(cls, table: CellTable, crops: CropSet, trained: NDArray[np.bool_]) -> _Known:
        normalisation = Normalisation.measured(crops.pixels, trained)
        rows = np.flatnonzero(trained)
        groups = group_numbers(table.rows)[rows]
        measures, groups = measured_cells(crops.pixels[rows], normalisation, groups)
        return cls(measure_training_cells(measures, groups), normalisation, crops.channels)

    def unlike(self, pixels: NDArray[np.generic]) -> Unlikeness:
        return unlike_cells(self.cells, pixels, self.normalisation, self.channels)


def _held_out(cells: CellTable) -> NDArray[np.bool_]:
    """A quarter of the cells, whole groups where there are groups."""
    groups = group_numbers(cells.rows)
    n_groups = int(groups.max()) + 1
    chosen = np.random.default_rng(0).permutation(n_groups)[: n_groups // 4]
    return np.isin(groups, chosen)


def _flagged(seen: Unlikeness) -> float:
    return float((seen.values > 1).mean())


def _distortions(pixels: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """The cells as they would look after usual mistakes, (N, C, Y, X) each."""
    counts = pixels.astype(np.float32)
    most = 65535 if pixels.dtype.itemsize > 1 else 255
    low, high = np.quantile(counts, [0.01, 0.998], axis=(2, 3), keepdims=True)
    noise = np.random.default_rng(1).normal(0, 1, counts.shape).astype(np.float32)
    spread = counts.std((0, 2, 3), keepdims=True)
    border = np.median(counts[:, :, [0, -1]], axis=(2, 3), keepdims=True)
    camera = np.median(np.abs(np.diff(counts, axis=3)), (0, 2, 3)).reshape(1, -1, 1, 1)
    distorted: dict[str, NDArray[np.generic]] = {
        "scaled to 0..1": counts / most,
        "bits shifted by 4": counts * 16,
        "half as bright": np.round(counts / 2),
        "twice as bright": counts * 2,
        "background + 800 (8 bit: + 40)": counts + (800 if most > 255 else 40),
        "stretched per crop": np.clip((counts - low) / (high - low + 1e-6), 0, 1) * most,
        "inverted": float(np.quantile(counts, 0.9999)) - counts,
        "other bit depth": counts / 16 if most > 255 else counts * 257,
        **{f"blurred, sigma {s} px": ndimage.gaussian_filter(counts, (0, 0, s, s)) for s in (1, 2)},
        "magnified 2 x": _magnified(counts, 2.0),
        "magnified 0.5 x": _magnified(counts, 0.5),
        "noise, 0.3 of the spread": counts + 0.3 * spread * noise,
        "empty field": border + camera * noise,
    }
    if counts.shape[1] > 1:
        distorted["channels in reverse order"] = counts[:, ::-1]
    return distorted


def _magnified(counts: Floats, factor: float) -> Floats:
    size = counts.shape[2]
    zoomed = ndimage.zoom(counts, (1, 1, factor, factor), order=1)
    spare = zoomed.shape[2] - size
    if spare >= 0:
        return zoomed[:, :, spare // 2 :, spare // 2 :][:, :, :size, :size]
    before = -spare // 2
    border = ((0, 0), (0, 0), *[(before, -spare - before)] * 2)
    return np.pad(zoomed, border, mode="symmetric")


def _without_class(
    left_out: str, cells: CellTable, crops: CropSet, test: NDArray[np.bool_], recipe: Recipe
) -> None:
    """Print how well cells of a class that was left out are told from those of the others."""
    new = (cells.rows["cls"] == left_out).to_numpy()
    others = replace(cells, classes=tuple(name for name in cells.classes if name != left_out))
    trained = ~test & ~new
    _told_apart(
        f"without {left_out}", others, crops, trained, recipe, test & ~new, crops.pixels[new]
    )


def _told_apart(
    name: str,
    cells: CellTable,
    crops: CropSet,
    trained: NDArray[np.bool_],
    recipe: Recipe,
    familiar: NDArray[np.bool_],
    strange: NDArray[np.generic],
) -> None:
    """Print how well strange cells are told from familiar ones, by `unlike` and by the network."""
    from sklearn.metrics import roc_auc_score

    known = _Known.of(cells, crops, trained)
    rows = np.flatnonzero(trained)
    with tempfile.TemporaryDirectory() as scratch:
        fitted = fit_model(cells.part(rows), crops.part(rows), recipe, Path(scratch), "cpu")
    truth = np.repeat([0, 1], [familiar.sum(), len(strange)])
    parts = crops.pixels[familiar], strange
    values = np.concatenate([known.unlike(pixels).values for pixels in parts])
    sure = np.concatenate([fitted.model.probabilities(pixels).max(1) for pixels in parts])
    print(
        f"| {name} | {len(strange)} | {roc_auc_score(truth, values):.3f} "
        f"| {roc_auc_score(truth, -sure):.3f} | {(values[truth == 1] > 1).mean():.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
