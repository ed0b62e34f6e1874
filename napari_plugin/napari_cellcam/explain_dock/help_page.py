"""The help page of the dock, as HTML. The only place of its text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cellcam.reporting.colours import AGAINST, FOR
from napari_cellcam.widgets.keyboard import KeyAction

_STEPS = {
    "Open and choose": "Open an image (<i>File &gt; Open</i>) and say which layer shows which "
    "stain. A model says what to look for; <i>New...</i> begins a classifier without any.",
    "Classify": "Finds the cells and calls each. The table lists them; sorted by <i>margin</i>, "
    "the doubtful ones come first.",
    "Explain": "Draws the evidence over the image in grey. The list beside <i>Evidence</i> shows "
    "each cell's call, one class, or why this and not that.",
    "Look": "Click a cell: its card says why it has its class and not the next one.",
    "Correct": "Press the number of the true class, or click the class. <i>Suggest</i> goes to the "
    "cell that would teach the network most.",
    "Train and compare": "A new model learns from your corrections and is compared with the old "
    "one on the same cells. You keep one; every model stays in the list.",
}
_COLOURS = {
    "outline": "The class of the cell: the true class that you gave, or else the call. The "
    "buttons of the classes show the colours.",
    "white ring": "The selected cell.",
    "dark red to pale yellow": "Importance: the brighter, the more a place adds to the score of "
    "the class. The image is seen where it is next to nothing.",
    f"<span style='color:{FOR}'>&#9632;</span> orange": "Why this and not that: speaks for the "
    "call.",
    f"<span style='color:{AGAINST}'>&#9632;</span> blue": "Speaks for the other class.",
}
_NUMBERS = {
    "score": "What the network computes for each class, before softmax turns the scores into "
    "probabilities.",
    "probability": "Calibrated: of the cells called with 80 %, about 80 % are right.",
    "margin": "The probability of the call less that of the runner-up. Small: the call is "
    "doubtful.",
    "importance": "How much a place adds to the score of the class. Compare it within an image; "
    "it has no unit.",
    "lead": "The score of the call less that of another class. A lead of 2.3 is ten times the "
    "probability, before calibration.",
    "error": "How far a map may be from the exact integral, relative to the map, as estimated. It "
    "says how well the network is explained, not whether the network is right.",
    "edge, uncertain, ...": "Doubts about a cell: its crop reaches over the edge of the image; its "
    "probability is low; it is larger than its crop.",
}


def help_page(keys: Sequence[KeyAction], project: Path, model: str) -> str:
    """The page as HTML.

    Parameters
    ----------
    keys : all keys of the dock
    project : folder of the open project
    model : folder of the chosen model; empty if there is none
    """
    steps = "".join(f"<li><b>{name}.</b> {text}</li>" for name, text in _STEPS.items())
    files = {
        "project": f"Corrections, models, and what was open, written as you work: {_path(project)}",
        "model": _path(model) if model else "Not trained yet.",
        "table": "<i>Save table...</i> writes it as CSV; a right click on the table copies rows.",
        "layers": "<i>File &gt; Save selected layers</i> writes maps and cells as OME-TIFF.",
    }
    mouse = {
        "click on a cell": "its card",
        "Shift and click": "several cells",
        "right click on a class": "rename or delete it",
    }
    return "".join(
        [
            f"<h3>From an image to a model, in {len(_STEPS)} steps</h3><ol>{steps}</ol>",
            "<h3>Keys and mouse</h3>",
            "<p>Keys work on the canvas and in the dock, once there are cells.</p>",
            _rows({**grouped(keys), **mouse}),
            f"<h3>Colours</h3>{_rows(_COLOURS)}<h3>Numbers</h3>{_rows(_NUMBERS)}",
            f"<h3>Files</h3>{_rows(files)}<p>For research use only; results are no diagnosis.</p>",
        ]
    )


def grouped(keys: Sequence[KeyAction]) -> dict[str, str]:
    """Meaning by key; keys of one meaning together, digits as ``1 to 9``."""
    by_meaning: dict[str, list[str]] = {}
    for key, meaning, _ in keys:
        by_meaning.setdefault(meaning, []).append(key)
    return {_joined(same): escape(meaning) for meaning, same in by_meaning.items()}


def _joined(keys: list[str]) -> str:
    if len(keys) > 2 and all(key.isdigit() for key in keys):
        return f"{keys[0]} to {keys[-1]}"
    return escape(", ".join(keys))


def _rows(entries: dict[str, str]) -> str:
    rows = (
        f"<tr><td style='padding-right:12px'><b>{name}</b></td><td>{text}</td></tr>"
        for name, text in entries.items()
    )
    return f"<table cellspacing='3'>{''.join(rows)}</table>"


def _path(path: Path | str) -> str:
    return f"<code>{escape(str(path))}</code>"
