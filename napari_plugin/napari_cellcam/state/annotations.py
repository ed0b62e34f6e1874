"""True classes that the user assigned to cells, and the files for a training. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError

if TYPE_CHECKING:
    from napari_cellcam.state.session import Session

_CELL = ("label", "t", "z", "y", "x")
_DOUBTFUL = 0.2  # part of the cells, by margin, from which suggestions are taken


def suggest_cells(session: Session, true_classes: Mapping[int, str], n: int = 1) -> list[int]:
    """Rows of cells whose true class would teach the network most: doubtful, and diverse.

    The first cell has the lowest margin. Each next cell comes from the fifth of the cells with
    the lowest margins; its probabilities are farthest from those of the cells taken before.

    Parameters
    ----------
    true_classes : by row of the session's table; these rows are not suggested
    n : number of rows, at most
    """
    rows = [row for row in range(len(session.table)) if row not in true_classes]
    if not rows:
        return []
    unassigned = np.array(rows, int)
    margins = session.table["margin"].to_numpy()[unassigned]
    doubtful = unassigned[np.argsort(margins, kind="stable")]
    doubtful = doubtful[: max(n, round(_DOUBTFUL * len(doubtful)))]
    probabilities = session.probabilities()[doubtful]
    taken = [0]
    while len(taken) < min(n, len(doubtful)):
        differences = probabilities[:, None] - probabilities[taken][None]
        distance = np.linalg.norm(differences, axis=2).min(axis=1)
        taken.append(int(distance.argmax()))
    return [int(row) for row in doubtful[taken]]


def save_annotations(
    folder: Path, session: Session, true_classes: Mapping[int, str], sure_calls: bool = False
) -> Path:
    """Write a cell table with the crops of its cells, and a recipe that fits the model.

    Parameters
    ----------
    folder : gets ``cells.csv``, ``crops.tif`` and ``recipe.yaml``
    true_classes : by row of the session's table
    sure_calls : whether cells without true class are written with their predicted class, if the
        model is certain of it

    Returns
    -------
    path of the cell table

    Raises
    ------
    InputError
        If there is no cell to write.
    """
    import pandas as pd

    from cellcam.stacks.stack import PixelSize
    from cellcam.stacks.writing import whole_file, write_ome_tiff

    classes = dict(true_classes)
    if sure_calls:
        assert session.model is not None
        limit = session.model.spec.uncertain_below
        for row, facts in session.table.iterrows():
            if facts["probability"] >= limit:
                classes.setdefault(int(str(row)), facts["class"])
    if not classes:
        raise InputError("No cell has a class yet. Select cells and give them a class.")
    rows = sorted(classes)
    folder.mkdir(parents=True, exist_ok=True)
    crops = np.stack([session.crop(row) for row in rows])
    volumes = crops if crops.ndim == 5 else crops[:, :, None]
    write_ome_tiff(folder / "crops.tif", volumes, session.spec.channels, PixelSize())
    table = session.table.iloc[rows][[*_CELL]].reset_index(drop=True)
    table.insert(0, "cls", [classes[row] for row in rows])
    table.insert(0, "index", range(len(rows)))
    table.insert(0, "file", "crops.tif")
    table["stack"] = session.stack.name
    table["by_hand"] = [row in true_classes for row in rows]
    with whole_file(folder / "recipe.yaml") as temporary:
        temporary.write_text(_recipe(session), "utf-8")
    with whole_file(folder / "cells.csv") as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False)
    return folder / "cells.csv"


def load_annotations(path: Path, session: Session) -> dict[int, str]:
    """True classes of a saved table, by row of the session's table.

    Cells are matched by t, z, y and x; cells that the session does not have are left out.

    Raises
    ------
    InputError
        If the file is not a table of `save_annotations`.
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
        for key, name, is_true in zip(keys, classes, by_hand, strict=True)
        if is_true and key in known
    }


def have_same_cells(first: Session, second: Session) -> bool:
    """Whether the tables of two sessions list the same cells in the same order."""
    cells = [session.table[[*_CELL]].astype(str) for session in (first, second)]
    return cells[0].equals(cells[1])


def _recipe(session: Session) -> str:
    """Recipe of a model with the channels, pixel size and finder of the session's model."""
    import json

    spec = session.spec
    shared: dict[str, object] = {
        "channels": list(spec.channels),
        "field": spec.field,
        "pixel_size_um": spec.pixel_size_um and list(spec.pixel_size_um),
        "finding": spec.finding and spec.finding.model_dump(mode="json"),
    }
    return json.dumps({name: value for name, value in shared.items() if value}, indent=2) + "\n"
