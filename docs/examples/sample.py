"""Make the files that the pages' examples use, in the folder where you are.

    python docs/examples/sample.py

All cells are simulated: three fields in three stains, on one plane each, with their true classes.

| file | content |
|---|---|
| `plate1.ome.tif`, `plate2.ome.tif` | fields of 42 cells in DNA, tubulin and marker |
| `plate1.labels.tif` | label image of the first field |
| `plate1_DNA.tif`, ... | the first field with a file for each channel |
| `cells.csv` | true class and centre of the cells of both fields |
| `other_plate.ome.tif`, `other_plate.csv` | a third field, to judge a model with |
| `screen/`, `masks/` | the first two fields as wells of a plate, and their label images |
| `plate.csv` | layout of that plate: a drug in each well |
| `my_model/` | the packaged model, which knows such cells |
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from cellcam_training.simulated.fields import CHANNELS, PIXEL_SIZE_UM, simulate_field

from cellcam import samples
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

FLAT = PixelSize(None, *PIXEL_SIZE_UM[1:])
SEEDS = {"plate1": 20, "plate2": 200, "other_plate": 201}
WELLS = {"plate1": "B03_s1", "plate2": "B04_s1"}
WRITTEN = (
    *(f"{name}.ome.tif" for name in SEEDS),
    *(f"{name}.labels.tif" for name in SEEDS),
    *("cells.csv", "other_plate.csv", "screen/", "masks/", "plate.csv", "my_model/"),
)


def main(folder: Path) -> None:
    """Write all sample files into ``folder``."""
    for name in ("screen", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cells = {name: _write_field(folder, name, seed) for name, seed in SEEDS.items()}
    pd.concat([cells["plate1"], cells["plate2"]]).to_csv(folder / "cells.csv", index=False)
    cells["other_plate"].to_csv(folder / "other_plate.csv", index=False)
    for name, pixels in zip(CHANNELS, tifffile.imread(folder / "plate1.ome.tif"), strict=True):
        tifffile.imwrite(folder / f"plate1_{name}.tif", pixels)
    for name, well in WELLS.items():
        shutil.copy(folder / f"{name}.ome.tif", folder / "screen" / f"{well}.ome.tif")
        shutil.copy(folder / f"{name}.labels.tif", folder / "masks" / f"{well}.tif")
    layout = pd.DataFrame({"Well": ["B3", "B4"], "drug": ["DMSO", "taxol"], "dose_um": [0, 0.5]})
    layout.to_csv(folder / "plate.csv", index=False)
    model = samples.sample_path(samples.DEMO_MODEL)
    shutil.copytree(model, folder / "my_model", dirs_exist_ok=True)
    print(f"Wrote {', '.join(WRITTEN)} into {folder.resolve()}.")


def _write_field(folder: Path, name: str, seed: int) -> pd.DataFrame:
    """Write the brightest of all planes and the label image; return the cell table."""
    field = simulate_field(seed)
    flat = field.pixels.max(axis=1, keepdims=True)
    write_ome_tiff(folder / f"{name}.ome.tif", flat[None], CHANNELS, FLAT)
    tifffile.imwrite(folder / f"{name}.labels.tif", field.labels.astype(np.uint16))
    return pd.DataFrame(
        {
            "image": f"{name}.ome.tif",
            "x": field.centres[:, 1].round(1),
            "y": field.centres[:, 0].round(1),
            "cls": field.classes,
            "plate": name,
        }
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
