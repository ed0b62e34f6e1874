"""Fuzz the reading of cell tables, recipes and the JSON of model folders, guided by coverage.

Every input is read, or ends with an error that CellCam makes on purpose; anything else (another
exception, more than a few seconds, more memory than a small table needs) is a finding. Needs
atheris, which is no dependency of CellCam: install it into an environment of its own and let it
see CellCam's packages.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris
    PYTHONPATH=.:training:SITE_PACKAGES /tmp/fuzz/bin/python benchmarks/fuzz/tables.py table \
        CORPUS -max_total_time=3600 -rss_limit_mb=2048 -timeout=20

``table`` changes the bytes of a cell table, ``recipe`` those of a recipe, ``model`` those of
``configs/inference.json``. CORPUS is a folder, filled with seeds when it is empty. Findings become
tests, and the smallest inputs stay in ``tests/training/tables/fuzzed`` and ``tests/models/fuzzed``.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np
import pandas as pd
import tifffile

with atheris.instrument_imports(include=["cellcam.models", "cellcam_training.tables"]):
    from cellcam_training.fitting.recipe import read_recipe
    from cellcam_training.tables.cell_table import read_cell_table

    from cellcam.errors import CellCamError
    from cellcam.models.bundle import SPEC, read_spec
    from cellcam.samples import DEMO_MODEL, sample_path

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def fuzz_table(content: bytes) -> None:
    """The input is a cell table beside an image."""
    path = FOLDER / "cells.csv"
    path.write_bytes(content)
    try:
        table = read_cell_table(path, to_train=False)
    except CellCamError:
        return
    assert len(table.rows)
    assert all(table.classes)
    assert set(table.rows["cls"]) == set(table.classes)


def fuzz_recipe(content: bytes) -> None:
    """The input is a recipe."""
    path = FOLDER / "recipe.yaml"
    path.write_bytes(content)
    try:
        read_recipe(path)
    except CellCamError:
        return


def fuzz_model(content: bytes) -> None:
    """The input is the description of a model."""
    path = FOLDER / "model" / SPEC
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        spec = read_spec(FOLDER / "model")
    except CellCamError:
        return
    assert len(spec.crop_size) == spec.spatial_dims


def table_seeds() -> list[bytes]:
    """Small honest tables of many dialects."""
    tifffile.imwrite(FOLDER / "a.tif", np.zeros((3, 9, 9), np.uint8), metadata={"axes": "QYX"})
    columns = {"image": ["a.tif"] * 2, "x": [1.5, 5], "y": [2, 6.25], "cls": ["G1", "é, ü"]}
    frame = pd.DataFrame(columns)
    contents = [
        frame.to_csv(index=False, sep=sep, decimal=decimal).encode(encoding)
        for sep, decimal in ((",", "."), (";", ","), ("\t", "."))
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252")
    ]
    boxes = "file,xmin,ymin,xmax,ymax,cls\na.tif,1,1,4,4,a\na.tif,2,2,7,7,b\n"
    points = "index,axis-0,axis-1,axis-2,cls,image\n0,1,2,3,a,a.tif\n1,2,5,5,b,a.tif\n"
    excel, parquet = io.BytesIO(), io.BytesIO()
    frame.to_excel(excel, index=False)
    frame.to_parquet(parquet)
    return [*contents, boxes.encode(), points.encode(), excel.getvalue(), parquet.getvalue()]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "table": (fuzz_table, table_seeds),
    "recipe": (fuzz_recipe, lambda: [path.read_bytes() for path in RECIPES.glob("*.yaml")]),
    "model": (fuzz_model, lambda: [(sample_path(DEMO_MODEL) / SPEC).read_bytes()]),
}


def main() -> None:
    """Fuzz one of `TARGETS`."""
    warnings.simplefilter("ignore")
    target, seeds = TARGETS[sys.argv.pop(1)]
    corpus, contents = Path(sys.argv[1]), seeds()
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for i, content in enumerate(contents):
            (corpus / f"seed_{i}").write_bytes(content)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
