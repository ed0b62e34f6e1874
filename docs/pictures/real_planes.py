r"""A model for a real nucleus in 45 planes and two channels, for `window_story.py`.

    python docs/pictures/real_planes.py DATA/tiff_zoo/neubias/xyzc_16bit__dna_conf_wf.tif WORK
    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" \
        python docs/pictures/window_story.py docs/images \
        --image DATA/tiff_zoo/neubias/xyzc_16bit__dna_conf_wf.tif --model WORK/model \
        --channel "confocal=channel 1" --channel "widefield=channel 2" \
        --cell "in focus" --name planes

The stack (NEUBIAS training resources, CC BY 4.0) shows DNA by confocal and by widefield microscopy.
A plane counts as "in focus" if the nucleus in the confocal channel, which sees one plane only, is
at least half as bright as in its brightest plane. The model is trained on the nucleus that it is
shown on: the pictures show planes in the window, not how well such a model classifies other nuclei.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import tifffile
import typer
from cellcam_training.fitting.augmentation import Augmentation
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.tables.cell_table import read_cell_table
from skimage.measure import regionprops

from cellcam import find_cells, open_stack
from cellcam.models.spec import Finding

DIAMETER_UM = 18.0
RECIPE = Recipe(
    channels=("confocal", "widefield"),
    crop_size=(64, 64),
    finding=Finding(channel="widefield", diameter_um=DIAMETER_UM),
    augmentation=Augmentation(missing_stain=0.15),
)


def main(image: Path, work: Path) -> None:
    """Write WORK/cells.csv and WORK/model."""
    work.mkdir(parents=True, exist_ok=True)
    stack, confocal = open_stack(image), tifffile.imread(image)[:, 0]
    rows = []
    for z, plane in enumerate(confocal):
        labels = find_cells(stack, "channel 2", diameter_um=DIAMETER_UM, z=z)
        for cell in regionprops(labels, plane):
            y, x = cell.centroid
            rows.append((str(image.resolve()), z, y, x, cell.intensity_mean))
    seen = pd.DataFrame(rows, columns=["image", "z", "y", "x", "brightness"])
    sharp = seen["brightness"] >= seen["brightness"].max() / 2
    seen["cls"] = sharp.map({True: "in focus", False: "out of focus"})
    seen.to_csv(work / "cells.csv", index=False)
    print(seen["cls"].value_counts().to_string())
    train_model(read_cell_table(work / "cells.csv"), RECIPE, work / "model")


if __name__ == "__main__":
    typer.run(main)
