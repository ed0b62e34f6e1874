"""The commands that this package adds to ``cellcam``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellcam.cli_options import Device, Json, Quiet
from cellcam.console import Console
from cellcam.errors import UsageError

if TYPE_CHECKING:
    from cellcam_training.fitting.recipe import Recipe
    from cellcam_training.judging.explanation_evaluation import ExplanationFigures
    from cellcam_training.tables.cell_table import CellTable

Table = Annotated[
    Path,
    typer.Argument(
        help="Cell table (CSV, Parquet, points saved from napari), or a folder with one folder "
        "of images for each class."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Rows to use: COLUMN=PATTERN or COLUMN!=PATTERN; may be repeated."),
]
Image = Annotated[
    Path | None, typer.Option(help="Image that all rows are about, where no column says it.")
]
ClassColumn = Annotated[str, typer.Option(help="Column with the class.")]
GroupColumn = Annotated[str | None, typer.Option(help="Plate, movie or patient: kept together.")]
Channels = Annotated[str | None, typer.Option(help="Names, separated by commas.")]


def train(
    table: Table,
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    recipe: Annotated[Path | None, typer.Option(help="Recipe, YAML.")] = None,
    class_column: ClassColumn = "cls",
    group_column: GroupColumn = None,
    only: Only = None,
    image: Image = None,
    channels: Channels = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate first, with so many folds.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a classifier on a cell table.

    Several GPUs: torchrun --nproc-per-node N -m cellcam train ...
    """
    with _training_packages():
        from cellcam_training.fitting.distributed_training import is_first, joined_processes
        from cellcam_training.fitting.recipe import read_recipe
        from cellcam_training.fitting.trainer import train_model
        from cellcam_training.tables.cell_table import read_cell_table

    chosen = read_recipe(recipe).model_copy(update=_named(channels))
    with joined_processes():
        console = Console(quiet or not is_first(), json and is_first())
        cells = read_cell_table(table, class_column, group_column, only or (), image)
        console.say(f"{len(cells.rows)} cells of the classes {', '.join(cells.classes)}.")
        for warning in cells.warnings:
            console.say(f"Beware: {warning}")
        judged = _cross_validated(cells, chosen, folds, out, device, console) if folds else {}
        with console.progress("training, epochs") as progress:
            model = train_model(cells, chosen, out, device, progress)
        if is_first():
            _tell_result(model.spec.training, judged, out, console)


def _tell_result(
    training: dict[str, Any], judged: dict[str, Any], out: Path, console: Console
) -> None:
    metrics = training["validation"]
    console.say(f"Network {training['recipe']['network']}: {training['network_chosen']}.")
    console.say(
        f"On {metrics['n']} cells kept for validation: balanced accuracy "
        f"{metrics['balanced_accuracy']:.3f}, accuracy {metrics['accuracy']:.3f}, calibration "
        f"error {metrics['ece']:.3f} ({training['epochs']} epochs, "
        f"{training['seconds']} s)."
    )
    console.say(f"Wrote {out}")
    console.report({"model": str(out), "validation": metrics, **judged})


def evaluate(
    table: Table,
    model: Annotated[Path, typer.Option(help="Model folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    class_column: ClassColumn = "cls",
    group_column: GroupColumn = None,
    only: Only = None,
    image: Image = None,
    channels: Channels = None,
    explanations: Annotated[
        bool,
        typer.Option(
            "--explanations",
            help="Judge explanations too: Integrated Grad-CAM beside the peers that are installed.",
        ),
    ] = False,
    masks: Annotated[
        Path | None,
        typer.Option(help="Of crops: folder with masks under the names of the images."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Judge a classifier, and its explanations, on cells whose classes are known."""
    with _training_packages():
        from cellcam_training.judging.classifier_evaluation import evaluate_model
        from cellcam_training.tables.cell_table import read_cell_table
    from cellcam import load_model

    console = Console(quiet, json)
    cells = read_cell_table(table, class_column, group_column, only or (), image, to_train=False)
    judged, names = load_model(model, device), _named(channels).get("channels")
    metrics = evaluate_model(cells, judged, out, names)
    interval = metrics["intervals"]["balanced_accuracy"]
    sure = "95 % interval {:.3f} to {:.3f}".format(*interval) if interval else "cells of one group"
    console.say(
        f"{metrics['n']} cells: balanced accuracy {metrics['balanced_accuracy']:.3f} "
        f"({sure}), accuracy {metrics['accuracy']:.3f}, macro F1 "
        f"{metrics['macro_f1']:.3f}, calibration error {metrics['ece']:.3f}."
    )
    console.say(f"Wrote {out / 'report.html'}, metrics.json and calls.csv")
    if explanations:
        from cellcam_training.judging.explanation_report import evaluate_explanations

        with console.progress("explaining, batches") as progress:
            figures = evaluate_explanations(cells, judged, out, names, masks, progress)
        _tell_explanations(figures, console)
        console.say(f"Wrote {out / 'explanations.html'}, .json and .csv")
    console.report(metrics)


def benchmark(
    name: Annotated[str, typer.Argument(help="planted: simulated cells whose evidence is known.")],
    out: Annotated[Path, typer.Option(help="Folder for cells, models and results.")],
    cells: Annotated[
        int, typer.Option(help="Simulated cells that each network learns from.")
    ] = 800,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 30,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Judge explanations where the truth is known: planted evidence, and a network that cheats."""
    if name != "planted":
        raise UsageError(f"There is no benchmark {name!r}; there is: planted.")
    with _training_packages():
        from cellcam_training.simulated.planted_benchmark import run_planted

    console = Console(quiet, json)
    with console.progress("training, epochs") as progress:
        results, confounder = run_planted(
            out, cells, epochs=epochs, device=device, progress=progress
        )
    for result in results:
        console.say(
            f"{result.difficulty}: {result.accuracy:.1%} of new cells called rightly; the largest "
            f"share names a planted stain in {result.stain_named.value:.0%}; evidence fills "
            f"{result.by_chance:.1%} of a crop."
        )
        _tell_explanations(result.figures, console)
    console.say(
        f"Outside the cell lie {confounder.outside_cheating.value:.0%} of the importance where the "
        f"network cheats, {confounder.outside_honest.value:.0%} where it does not."
    )
    console.say(f"Wrote {out}")
    console.report({"out": str(out)})


def _tell_explanations(figures: ExplanationFigures, console: Console) -> None:
    """Means of the methods, and checks that fail."""
    means = figures.summary.pivot(index="method", columns="metric", values="mean")
    order = figures.costs["method"]
    shown = [name for name in ("ebpg", "bbox", "drop", "increase") if name in means]
    if "ebpg" not in means:
        console.say(
            "  It is not known where cells lie, so EBPG, Bbox and the pointing game are left out. "
            "Give masks with --masks, or cells as boxes or labels."
        )
    for method in order:
        listed = ", ".join(f"{name} {means.loc[method, name]:.3g}" for name in shown)
        console.say(f"  {method}: {listed}")
    for check in figures.checks:
        if not check.passed:
            console.say(f"  Beware: {check.name} is {check.figure.value:.3g}, {check.expected}.")


def _cross_validated(
    cells: CellTable, recipe: Recipe, folds: int, out: Path, device: str, console: Console
) -> dict[str, Any]:
    """Figures over all folds, written beside the model that is trained next."""
    from cellcam.stacks.writing import write_json
    from cellcam_training.fitting.cross_validation import cross_validate
    from cellcam_training.fitting.distributed_training import is_first
    from cellcam_training.fitting.trainer import read_all_crops, scratch_folder

    scratch = scratch_folder(out)
    with console.progress("cross-validation, epochs") as progress:
        judged = cross_validate(
            cells, read_all_crops(cells, recipe, scratch), recipe, folds, scratch, device, progress
        )
    summary = judged.summary(cells.classes)
    if is_first():
        write_json(out / "docs" / "cross_validation.json", summary)
    mean, spread = summary["mean"], summary["spread"]
    console.say(
        f"Over {folds} folds: balanced accuracy {mean['balanced_accuracy']:.3f} "
        f"(spread {spread['balanced_accuracy']:.3f}), calibration error {mean['ece']:.3f}."
    )
    return {"cross_validation": summary}


def _named(channels: str | None) -> dict[str, Any]:
    if not channels:
        return {}
    return {"channels": tuple(name.strip() for name in channels.split(","))}


@contextmanager
def _training_packages() -> Iterator[None]:
    """Within it, a package that is not installed is an error with a remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Training needs the package {error.name}: pip install 'cellcam[train]' brings it."
        ) from error
