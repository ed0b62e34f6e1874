"""What a training will see and do, said before it begins."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cellcam.reporting.sample_page import write_sample_page
from cellcam_training.fitting.course import course_of
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.time_estimate import estimated_seconds, in_words
from cellcam_training.fitting.trainer import scratch_folder
from cellcam_training.fitting.training_report import sample_crops_of
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crop_size import described
from cellcam_training.tables.crops import CropSet, CropSettings, image_opener
from cellcam_training.tables.places_fit import misplaced

SAMPLES = "sample_crops.html"
# Maps of a network take longer once it has learnt, so that no time is measured before.
_AFTERWARDS = "; measurements and the report after them can take some minutes more"


def announcement(
    table: CellTable,
    crops: CropSet,
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    folds: int | None = None,
) -> list[str]:
    """Sentences on a training that is about to begin; writes a page with sample crops.

    Parameters
    ----------
    crops : of all cells of the table
    out : model folder; the page is written into the folder of its unfinished training
    folds : of a cross-validation before the training

    Returns
    -------
    sentences: the crops and why they are as large, channels, network and why, validation, epochs,
    how cells of new images will be found, and time
    """
    course = course_of(table, crops, recipe)
    recipe, n = course.recipe, len(table.rows)
    counts = Counter(table.rows["cls"])
    samples = scratch_folder(out) / SAMPLES
    write_sample_page(samples, sample_crops_of(table, crops, recipe), described(crops.choice))
    n_judged = int((course.judge_of >= 0).sum())
    validation = f"{n_judged} of {n} cells are kept for validation"
    if course.n_judges > 1:
        validation = f"All {n} cells are judged, in {course.n_judges} parts"
    again = ", then one on all cells" if course.again else ""
    networks = "one network" if course.n_judges == 1 else f"{course.n_judges} networks"
    seconds = estimated_seconds(table, crops, course, device, folds)
    cross = f", with a cross-validation of {folds} folds" if folds else ""
    stop = " at most" if recipe.patience else ""
    work = "Features and fit" if recipe.frozen else "The epochs"
    fitting = f"{networks} trained for{stop} {recipe.epochs} epochs"
    if recipe.frozen:
        fitting = "features are computed once; a linear layer fitted to those of the other cells"
    return [
        f"{n} cells: {', '.join(f'{counts[name]} {name}' for name in table.classes)}.",
        f"The network sees crops of {described(crops.choice)}; --crop-size changes it.",
        f"Channels: {', '.join(crops.channels)}.",
        f"Look at the crops before you wait: {samples}",
        f"Network: {recipe.network}, {course.why_network}; --network changes it.",
        f"{validation}; {fitting}{again}{cross}.",
        _about_finding(crops),
        *(f"Warning: {text}" for text in course.warnings()),
        *(f"Warning: {text}" for text in crops.warnings),
        *(f"Warning: {text}" for text in _misplaced(table, recipe.crop_settings())),
        f"{work} take about {in_words(seconds)} on this machine{_AFTERWARDS}.",
    ]


def _misplaced(table: CellTable, settings: CropSettings) -> tuple[str, ...]:
    return misplaced(table, settings, image_opener(table, settings))


def _about_finding(crops: CropSet) -> str:
    """How the cells of new images will be found, or what the user has to say then."""
    finding, why = crops.finding
    if finding is not None:
        looks = f", as {finding.look_for} cells" if finding.look_for else ""
        return (
            f"In new images cells are found in {finding.channel}{looks}: {why}; --find-channel "
            "changes it."
        )
    text = f"How cells are found in new images is not known: {why}."
    if len(crops.channels) == 1:
        return text
    return (
        f"{text} When you use the model, name a channel with --find-channel, or give your own "
        "cells with --labels."
    )
