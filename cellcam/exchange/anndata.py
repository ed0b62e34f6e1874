"""The cell table of a run as AnnData, for scanpy and squidpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError, UsageError, how_to_install
from cellcam.exchange.measurements import measured_columns
from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def export_anndata(run: Path, target: Path) -> None:
    """Write ``cells.parquet`` of a run as one ``.h5ad`` file.

    Cells are observations; what was measured on them (class probabilities, shares of the stains,
    where the importance lies) is ``X``, all else ``obs``. ``obsm["spatial"]`` holds x and y, in
    micrometres where all are known, else in pixels; ``uns["cellcam"]`` says what ran.

    Parameters
    ----------
    run : folder of a finished run
    target : file to write, ``NAME.h5ad``

    Raises
    ------
    InputError
        If the folder holds no cell table.
    UsageError
        If anndata is not installed.
    """
    import pandas as pd

    table = run / "cells.parquet"
    if not table.is_file():
        raise InputError(
            f"{run} holds no cells.parquet. Name the output folder of a finished `cellcam batch`."
        )
    found = cells_as_anndata(pd.read_parquet(table), run)
    with whole_file(target) as temporary:
        found.write_h5ad(temporary)


def cells_as_anndata(cells: pd.DataFrame, run: Path) -> AnnData:
    """The cells of a table as AnnData, see `export_anndata`.

    Parameters
    ----------
    cells : cell table of a run
    run : its folder, for ``run.json``

    Raises
    ------
    UsageError
        If anndata is not installed.
    """
    import pandas as pd

    try:
        from anndata import AnnData
    except ImportError as error:
        raise UsageError(f"AnnData needs the extra: {how_to_install('anndata')}.") from error
    cells = cells.set_index(pd.Index([str(number) for number in range(len(cells))]))
    measured = measured_columns(cells)
    place = cells[["x_um", "y_um"]].to_numpy(np.float64)
    unit = "um"
    if np.isnan(place).any():
        place, unit = cells[["x", "y"]].to_numpy(np.float64), "px"
    about = run / "run.json"
    return AnnData(
        X=cells[measured].to_numpy(np.float32),
        obs=cells.drop(columns=measured),
        var=pd.DataFrame(index=pd.Index(measured)),
        obsm={"spatial": place},
        uns={
            "cellcam": {
                "run": about.read_text("utf-8") if about.is_file() else "{}",
                "spatial_unit": unit,
            }
        },
    )
