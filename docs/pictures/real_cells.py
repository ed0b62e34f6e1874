r"""A stack of real cells in three stains and a model for them, for `window_story.py`.

    python docs/pictures/real_cells.py DATA/tiff_zoo/cpexamples/ExampleHuman WORK
    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" \
        python docs/pictures/window_story.py docs/images \
        --image WORK/human.ome.tif --model WORK/model --cell mitotic --name real

CellProfiler's ExampleHuman (CC0) becomes one stack: DNA, phospho-histone H3 and cell bodies.
A cell counts as "mitotic" if phospho-histone H3, a marker of mitosis, is bright in its nucleus.
The model is trained on the field that it is shown on: the pictures show the window, not how well
such a model classifies other cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import typer
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.tables.cell_table import read_cell_table
from skimage.filters import threshold_otsu
from skimage.measure import regionprops_table

from cellcam import find_cells, open_stack
from cellcam.models.spec import Finding
from cellcam.stacks.writing import write_ome_tiff

CHANNELS = ("DNA", "PH3", "cells")
DIAMETER = 20.0


def main(images: Path, work: Path) -> None:
    """Write WORK/human.ome.tif, WORK/cells.csv and WORK/model."""
    pixels = np.stack([tifffile.imread(path) for path in sorted(images.glob("*.tif"))])
    stack_path = work / "human.ome.tif"
    write_ome_tiff(stack_path, pixels[None, :, None], CHANNELS)
    labels = find_cells(open_stack(stack_path), "DNA", diameter=DIAMETER)
    seen = pd.DataFrame(
        regionprops_table(labels, pixels[1], properties=("centroid", "mean_intensity"))
    )
    bright = seen["mean_intensity"] > threshold_otsu(seen["mean_intensity"].to_numpy())
    table = pd.DataFrame(
        {
            "image": stack_path.name,
            "y": seen["centroid-0"],
            "x": seen["centroid-1"],
            "cls": np.where(bright, "mitotic", "interphase"),
        }
    )
    table.to_csv(work / "cells.csv", index=False)
    print(table["cls"].value_counts().to_string())
    recipe = Recipe(crop_size=(48, 48), finding=Finding(channel="DNA"))
    train_model(read_cell_table(work / "cells.csv"), recipe, work / "model")


if __name__ == "__main__":
    typer.run(main)
