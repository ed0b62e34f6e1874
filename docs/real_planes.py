r"""A real nucleus in 45 planes and two channels, and a model of it, for `window_story.py`.

    python docs/real_planes.py ../shared/data/tiff_zoo/neubias/xyzc_16bit__dna_conf_wf.tif WORK
    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/window_story.py docs/images \
        --image ../shared/data/tiff_zoo/neubias/xyzc_16bit__dna_conf_wf.tif --model WORK/model \
        --channel "confocal=channel 1" --channel "widefield=channel 2" \
        --cell "in focus" --name planes

The stack (NEUBIAS training resources, CC BY 4.0) shows DNA by confocal and by widefield microscopy.
A plane is "in focus" where the confocal channel, which sees one plane only, is at least half as
bright in the nucleus as in its brightest plane. The model is trained on the nucleus that it is
shown on: this is about the window and planes, not about how well it calls other nuclei.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import tifffile
import typer
from skimage.measure import regionprops

from cellcam import find_cells, open_stack

DIAMETER_UM = 18.0
RECIPE = """\
channels: [confocal, widefield]
crop_size: [64, 64]
finding: {channel: widefield, diameter_um: 18}
augmentation: {missing_stain: 0.15}
seed: 0
"""


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
    (work / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    print(seen["cls"].value_counts().to_string())
    command = ["train", work / "cells.csv", "--recipe", work / "recipe.yaml", "--out"]
    subprocess.run(
        [sys.executable, "-m", "cellcam", *map(str, command), str(work / "model")], check=True
    )


if __name__ == "__main__":
    typer.run(main)
