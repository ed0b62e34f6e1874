"""Cells for a training: which to look at next, whether they suffice, and their files. No Qt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError

if TYPE_CHECKING:
    from cellcam.models.spec import Finding, ModelSpec
    from napari_cellcam.state.corrections import Corrections
    from napari_cellcam.state.session import Session

# Cells of each class that are needed: the judge of a new model sets a third of them aside.
FEWEST = 3
FOLDS = 3
_DOUBTFUL = 0.2  # part of the cells, by margin, from which suggestions are taken
# A model may teach the next one by its sure calls if it was right that often on that many cells
# that it had not seen.
_EARNED, _ON_CELLS = 0.9, 50


def suggest_cells(session: Session, known: Collection[int], n: int = 1) -> list[int]:
    """Rows of cells whose true class would teach the network most: doubtful, and diverse.

    The first cell has the lowest margin. Each next cell comes from the fifth of the cells with
    the lowest margins; its probabilities are farthest from those of the cells taken before.
    Without a model, the first cells of the table without a class.

    Parameters
    ----------
    known : rows that have a true class; they are not suggested
    n : number of rows, at most
    """
    can_teach = np.flatnonzero(session.can_be_called).tolist()
    rows = [row for row in can_teach if row not in known]
    if not rows or session.model is None:
        return rows[:n]
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


def what_lacks(corrections: Corrections, session: Session | None) -> str:
    """Why a training cannot begin yet, in words; empty if it can."""
    if session is None:
        return "Find or classify the cells of an image first."
    _, fitting, others = corrections.training_cells(session.spec)
    counts = Counter(correction.name for correction in fitting)
    used = {name: counts[name] for name in corrections.classes if counts[name]}
    few = [f"{name} has {n}" for name, n in used.items() if n < FEWEST]
    text = ""
    if len(used) < 2:
        text = f"Give at least {FEWEST} cells each of two classes their true class."
    elif few:
        text = f"Each class needs at least {FEWEST} cells: {', '.join(few)}."
    if text and others:
        text += f" {others} corrected cells were seen with other stains or another scale."
    return text


def has_earned_trust(spec: ModelSpec, packaged: bool) -> bool:
    """Whether a model's sure calls may be learned: it was right on cells that it had not seen.

    Parameters
    ----------
    packaged : whether it is the packaged model, which knows simulated cells only
    """
    validation = spec.training.get("validation")
    if packaged or not isinstance(validation, dict):
        return False
    accuracy, n = validation.get("balanced_accuracy"), validation.get("n")
    return (
        isinstance(accuracy, float)
        and isinstance(n, int)
        and accuracy >= _EARNED
        and n >= _ON_CELLS
    )


def write_training(
    folder: Path, corrections: Corrections, session: Session, sure_calls: bool = False
) -> Path:
    """Write a cell table with the crops of its cells, and a recipe that fits the session.

    Parameters
    ----------
    folder : gets ``cells.csv``, ``crops.tif`` and ``recipe.yaml``
    sure_calls : whether cells of the session without true class are written with their call, if
        the model is certain of it

    Returns
    -------
    path of the cell table

    Raises
    ------
    InputError
        If there are too few cells, see `what_lacks`.
    """
    import pandas as pd

    from cellcam.stacks.stack import PixelSize
    from cellcam.stacks.writing import whole_file, write_ome_tiff
    from napari_cellcam.state.corrections import crop_hash

    lacking = what_lacks(corrections, session)
    if lacking:
        raise InputError(lacking)
    places, given, _ = corrections.training_cells(session.spec)
    names, crops = [c.name for c in given], [c.pixels for c in given]
    where: list[tuple[object, ...]] = [tuple(place) for place in places]
    for row, name in _sure_calls(corrections, session) if sure_calls else ():
        facts = session.table.iloc[row]
        names.append(name)
        crops.append(session.crop(row))
        image = session.origin.image.place
        where.append((image, facts["t"], facts["z"], facts["y"], facts["x"]))
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.stack(crops)
    volumes = pixels if pixels.ndim == 5 else pixels[:, :, None]
    write_ome_tiff(folder / "crops.tif", volumes, session.spec.channels, PixelSize())
    table = pd.DataFrame(where, columns=["stack", "t", "z", "y", "x"])
    table.insert(0, "cls", names)
    table.insert(0, "index", range(len(names)))
    table.insert(0, "file", "crops.tif")
    table["crop"] = [crop_hash(crop) for crop in crops]
    table["by_hand"] = [i < len(given) for i in range(len(names))]
    with whole_file(folder / "recipe.yaml") as temporary:
        temporary.write_text(_recipe(session), "utf-8")
    with whole_file(folder / "cells.csv") as temporary:
        table.to_csv(temporary, index=False)
    return folder / "cells.csv"


def _sure_calls(corrections: Corrections, session: Session) -> list[tuple[int, str]]:
    """Rows and calls of which the model is certain, and that the user did not correct."""
    if session.model is None:
        return []
    limit, known = session.model.spec.uncertain_below, corrections.rows(session)
    calls = zip(session.table["probability"], session.table["class"], strict=True)
    return [
        (row, str(name))
        for row, (probability, name) in enumerate(calls)
        if probability >= limit and row not in known
    ]


def _finding(session: Session) -> Finding | None:
    """How cells are found, with the look that was chosen in the window."""
    finding, finder = session.spec.finding, session.request.finder
    look = getattr(finder, "look_for", "auto")
    if finding is None or look == "auto":
        return finding
    return finding.model_copy(update={"look_for": look})


def _recipe(session: Session) -> str:
    """Recipe of a model with the channels, pixel size and finder of the session."""
    spec, finding = session.spec, _finding(session)
    shared: dict[str, object] = {
        "channels": list(spec.channels),
        "field": session.planes,
        "pixel_size_um": spec.pixel_size_um and list(spec.pixel_size_um),
        "finding": finding and finding.model_dump(mode="json"),
        "validation_folds": FOLDS,
    }
    return json.dumps({name: value for name, value in shared.items() if value}, indent=2) + "\n"
