"""Classes that the user gave to cells, and the files that a training reads. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.errors import InputError

if TYPE_CHECKING:
    from napari_cellcam.session import Session

_PLACE = ("label", "t", "z", "y", "x")
_DOUBTFUL = 0.2  # suggestions are sought among this part of the cells


def suggested(session: Session, given: Mapping[int, str], n: int = 1) -> list[int]:
    """Rows of cells whose class would teach the network most: doubtful, and unlike each other.

    The first is the most doubtful (lowest margin); each next one, among the most doubtful
    fifth, is the one whose probabilities differ most from those taken before.
    """
    open_rows = np.array([row for row in range(len(session.table)) if row not in given], int)
    if not len(open_rows):
        return []
    margins = session.table["margin"].to_numpy()[open_rows]
    doubtful = open_rows[np.argsort(margins, kind="stable")]
    doubtful = doubtful[: max(n, round(_DOUBTFUL * len(doubtful)))]
    said = session.probabilities()[doubtful]
    taken = [0]
    while len(taken) < min(n, len(doubtful)):
        distance = np.linalg.norm(said[:, None] - said[taken][None], axis=2).min(axis=1)
        taken.append(int(distance.argmax()))
    return [int(row) for row in doubtful[taken]]


def save_annotations(
    folder: Path, session: Session, given: Mapping[int, str], sure_calls: bool = False
) -> Path:
    """Write a cell table with the crops of its cells, and a recipe that fits the model.

    Parameters
    ----------
    folder : gets ``cells.csv``, ``crops.tif`` and ``recipe.yaml``
    given : class of some rows of the session's table
    sure_calls : whether calls that the model is sure of, and the user did not change, are taken
        for true

    Returns
    -------
    path of the cell table

    Raises
    ------
    InputError
        If there are no cells to write.
    """
    import pandas as pd

    from cellcam.stacks.stack import PixelSize
    from cellcam.stacks.writing import whole_file, write_ome_tiff

    classes = dict(given)
    if sure_calls:
        limit = session.model.spec.uncertain_below
        for row, facts in session.table.iterrows():
            if facts["probability"] >= limit:
                classes.setdefault(int(str(row)), facts["class"])
    if not classes:
        raise InputError("No cell has a class yet. Select cells and give them one.")
    rows = sorted(classes)
    folder.mkdir(parents=True, exist_ok=True)
    crops = np.stack([session.crop(row) for row in rows])
    volumes = crops if crops.ndim == 5 else crops[:, :, None]
    write_ome_tiff(folder / "crops.tif", volumes, session.model.spec.channels, PixelSize())
    table = session.table.iloc[rows][[*_PLACE]].reset_index(drop=True)
    table.insert(0, "cls", [classes[row] for row in rows])
    table.insert(0, "index", range(len(rows)))
    table.insert(0, "file", "crops.tif")
    table["stack"] = session.stack.name
    table["by_hand"] = [row in given for row in rows]
    with whole_file(folder / "recipe.yaml") as temporary:
        temporary.write_text(_recipe(session), "utf-8")
    with whole_file(folder / "cells.csv") as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False)
    return folder / "cells.csv"


def load_annotations(path: Path, session: Session) -> dict[int, str]:
    """Classes of a saved table, by row of the session's table; cells are known by their place.

    Raises
    ------
    InputError
        If the file is no such table.
    """
    import pandas as pd

    try:
        saved = pd.read_csv(path)
        places = list(zip(saved["t"], saved["z"].astype(str), saved["y"], saved["x"], strict=True))
        classes = saved["cls"].astype(str).tolist()
        by_hand = saved["by_hand"].tolist() if "by_hand" in saved else [True] * len(saved)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no saved classes of cells: {error}") from error
    table = session.table
    known = {
        (t, str(z), round(y, 1), round(x, 1)): row
        for row, (t, z, y, x) in enumerate(
            zip(table["t"], table["z"], table["y"], table["x"], strict=True)
        )
    }
    keys = [(t, z, round(y, 1), round(x, 1)) for t, z, y, x in places]
    return {
        known[key]: name
        for key, name, own in zip(keys, classes, by_hand, strict=True)
        if own and key in known
    }


def same_cells(one: Session, other: Session) -> bool:
    """Whether two sessions are about the same cells, row by row."""
    places = [session.table[[*_PLACE]].astype(str) for session in (one, other)]
    return places[0].equals(places[1])


def _recipe(session: Session) -> str:
    """What the new model shares with the one that called the cells."""
    import json

    spec = session.model.spec
    shared: dict[str, Any] = {
        "channels": list(spec.channels),
        "field": spec.field,
        "pixel_size_um": spec.pixel_size_um and list(spec.pixel_size_um),
        "finding": spec.finding and spec.finding.model_dump(mode="json"),
    }
    return json.dumps({name: value for name, value in shared.items() if value}, indent=2) + "\n"
