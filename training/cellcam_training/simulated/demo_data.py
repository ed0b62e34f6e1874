"""Make the files of ``sample_data/``: the demo stack, its ground truth and the demo model.

Run it as ``python -m cellcam_training.simulated.demo_data sample_data``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

from cellcam import samples
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import whole_file, write_ome_tiff
from cellcam_training.fitting.recipe import read_recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.simulated.fields import (
    CHANNELS,
    EVIDENCE_CHANNEL,
    PIXEL_SIZE_UM,
    SimulatedField,
    simulate_field,
)
from cellcam_training.tables.cell_table import read_cell_table

DEMO_SEED = 20
TRAINING_SEEDS = range(100, 130)


def write_field(folder: Path, name: str, field: SimulatedField) -> pd.DataFrame:
    """Write a simulated field as ``NAME.ome.tif``; return its cell table with the ground truth."""
    size = PixelSize(*PIXEL_SIZE_UM)
    write_ome_tiff(folder / f"{name}.ome.tif", field.pixels[None], CHANNELS, size)
    return pd.DataFrame(
        {
            "image": f"{name}.ome.tif",
            "label": range(1, len(field.classes) + 1),
            "x": field.centres[:, 1].round(1),
            "y": field.centres[:, 0].round(1),
            "cls": field.classes,
            "evidence_channel": [EVIDENCE_CHANNEL[name] for name in field.classes],
            "group": name,
        }
    )


def write_demo_stack(folder: Path) -> None:
    """Write the demo stack and its ground truth: labels, evidence and cell table."""
    field = simulate_field(DEMO_SEED)
    truth = write_field(folder, samples.DEMO_STACK.removesuffix(".ome.tif"), field)
    flat = PixelSize(None, *PIXEL_SIZE_UM[1:])
    for name, image in [
        (samples.DEMO_LABELS, field.labels),
        (samples.DEMO_EVIDENCE, field.evidence),
    ]:
        write_ome_tiff(folder / name, image[None, None, None], ("cells",), flat)
    with whole_file(folder / samples.DEMO_TRUTH) as temporary:
        truth.to_csv(temporary, index=False)


def write_training_fields(folder: Path) -> Path:
    """Write the fields that the demo model is trained on; return the path of their cell table."""
    tables = [write_field(folder, f"field_{seed}", simulate_field(seed)) for seed in TRAINING_SEEDS]
    path = folder / "cells.csv"
    with whole_file(path) as temporary:
        pd.concat(tables).to_csv(temporary, index=False)
    return path


def main(folder: Path, recipe: Path) -> None:
    """Make the demo stack, its ground truth and the demo model."""
    write_demo_stack(folder)
    with tempfile.TemporaryDirectory() as scratch:
        table = read_cell_table(write_training_fields(Path(scratch)))
        model = train_model(table, read_recipe(recipe), folder / samples.DEMO_MODEL, "cpu")
    print(model.spec.training["validation"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parents[2] / "recipes" / "demo.yaml")
