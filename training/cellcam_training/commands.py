"""The commands that this package adds to ``cellcam``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellcam.cli_options import Axes, Device, Json, Quiet, name_and_value
from cellcam.console import Console
from cellcam.errors import StoppedError, UsageError, how_to_install
from cellcam.names import split_names
from cellcam.stacks.writing import writable_folder

if TYPE_CHECKING:
    from cellcam_training.fitting.cross_validation import CrossValidationSummary
    from cellcam_training.fitting.recipe import Recipe
    from cellcam_training.judging.explanation_evaluation import ExplanationMetrics
    from cellcam_training.tables.cell_table import CellTable
    from cellcam_training.tables.crops import CropSet

Table = Annotated[
    Path,
    typer.Argument(
        help="Cell table (CSV, Excel, Parquet; of napari, QuPath, CellProfiler, ilastik), outlines "
        "with classes (GeoJSON, COCO, ROIs), or a folder with one subfolder of images for each "
        "class."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Rows to use: COLUMN=PATTERN or COLUMN!=PATTERN; may be repeated."),
]
Image = Annotated[Path | None, typer.Option(help="Image of all rows, if no column names it.")]
ClassColumn = Annotated[str, typer.Option(help="Column with the class.")]
GroupColumn = Annotated[str | None, typer.Option(help="Plate, movie or patient: kept together.")]
Channels = Annotated[str | None, typer.Option(help='Names of the channels: A,B,"C, D".')]


def train(
    table: Table,
    out: Annotated[Path, typer.Option(help="Model folder to write.", callback=writable_folder)],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe, YAML; or the name of one that comes along, such as frozen."),
    ] = None,
    class_column: ClassColumn = "cls",
    group_column: GroupColumn = None,
    only: Only = None,
    image: Image = None,
    channels: Channels = None,
    axes: Axes = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validate first, with this many folds."),
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Model folder that the training goes on from.")
    ] = None,
    backbone: Annotated[
        Path | None,
        typer.Option(
            help="With --recipe frozen: model folder of other cells, or file of weights for "
            "--network, whose features are used as they are."
        ),
    ] = None,
    crop_size: Annotated[
        str | None,
        typer.Option(help="Pixels of a crop: one number, Y,X or Z,Y,X; else as the cells need."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Name of a network; else as crops and cells suggest.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs; else 15 to 80.")
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(help="Of z-stacks: plane (column z of the table), max, mean or volume."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is in the folder already.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a classifier on a cell table; says before it begins what it will see and do.

    Several GPUs: torchrun --nproc-per-node N -m cellcam train ...
    """
    with _training_packages():
        from cellcam_training.fitting.announcement import announcement
        from cellcam_training.fitting.cross_validation import cross_validation_folds
        from cellcam_training.fitting.distributed_training import is_first_process, process_group
        from cellcam_training.fitting.recipe import changed_recipe, read_recipe
        from cellcam_training.fitting.trainer import (
            check_out,
            read_all_crops,
            scratch_folder,
            train_model,
        )
        from cellcam_training.tables.cell_table import read_cell_table

    settings = changed_recipe(
        read_recipe(recipe),
        channels=split_names(channels) or None,
        start_from=start_from,
        backbone=backbone,
        crop_size=_crop_size(crop_size),
        network=network,
        epochs=epochs,
        field=field,
    )
    check_out(out, overwrite)
    with _goes_on(), process_group():
        console = Console(quiet or not is_first_process(), json and is_first_process())
        cells = read_cell_table(table, class_column, group_column, only or (), image, axes=axes)
        _say_about(cells, console)
        if folds:  # before the images are read
            cross_validation_folds(cells, settings, folds)
        crops = read_all_crops(cells, settings, scratch_folder(out))
        if is_first_process():
            for sentence in announcement(cells, crops, settings, out, device, folds):
                console.say(sentence)
        summary = (
            _cross_validated(cells, crops, settings, folds, out, device, console) if folds else None
        )
        with console.progress("training") as progress:
            model = train_model(cells, settings, out, device, progress, crops)
        if is_first_process():
            if summary is None:  # that of the model before
                (out / "docs" / "cross_validation.json").unlink(missing_ok=True)
            _say_trained(model.spec.training, summary, out, console)


def _cells_to_judge(
    table: Path,
    class_column: str,
    group_column: str | None,
    only: list[str] | None,
    image: Path | None,
    axes: str | None,
    console: Console,
) -> CellTable:
    """The cells of a table that a finished model is judged on; says what must be known of it."""
    from cellcam_training.tables.cell_table import read_cell_table

    cells = read_cell_table(
        table, class_column, group_column, only or (), image, to_train=False, axes=axes
    )
    _say_about(cells, console)
    return cells


def _say_about(cells: CellTable, console: Console) -> None:
    """Print what the user must know about a table."""
    for note in cells.notes:
        console.say(f"Note: {note}")
    for warning in cells.warnings:
        console.say(f"Warning: {warning}")


def _say_trained(
    training: Mapping[str, Any],
    cross_validation: CrossValidationSummary | None,
    out: Path,
    console: Console,
) -> None:
    """Print the metrics of a trained model.

    Parameters
    ----------
    training : entry ``training`` of the model's description
    """
    from cellcam_training.judging.predictions import guessing_warnings

    metrics = training["validation"]
    console.say(f"Network {training['recipe']['network']}: {training['network_chosen']}.")
    n_networks = training["validation_networks"]
    judged = (
        f"each judged by one of {n_networks} networks, which had not seen it"
        if n_networks > 1
        else "kept for validation"
    )
    console.say(
        f"On {metrics['n']} cells {judged}: balanced accuracy "
        f"{metrics['balanced_accuracy']:.3f}, accuracy {metrics['accuracy']:.3f}, calibration "
        f"error {metrics['ece']:.3f} ({training['epochs']} epochs, "
        f"{training['seconds']} s)."
    )
    for warning in guessing_warnings(metrics):
        console.say(f"Warning: {warning}")
    console.say(f"Wrote {out}")
    report = {"model": str(out), "validation": metrics}
    if cross_validation is not None:
        report["cross_validation"] = cross_validation
    console.report(report)


def evaluate(
    table: Table,
    model: Annotated[Path, typer.Option(help="Model folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.", callback=writable_folder)],
    class_column: ClassColumn = "cls",
    group_column: GroupColumn = None,
    only: Only = None,
    image: Image = None,
    channels: Channels = None,
    axes: Axes = None,
    explanations: Annotated[
        bool,
        typer.Option(
            "--explanations",
            help="Evaluate explanations too: Integrated Grad-CAM and the other installed methods.",
        ),
    ] = False,
    masks: Annotated[
        Path | None,
        typer.Option(help="For crops: folder of mask images with the file names of the images."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Evaluate a classifier, and its explanations, on cells with known classes."""
    with _training_packages():
        from cellcam_training.judging.classifier_evaluation import evaluate_model
        from cellcam_training.judging.predictions import guessing_warnings
    from cellcam import load_model

    console = Console(quiet, json)
    cells = _cells_to_judge(table, class_column, group_column, only, image, axes, console)
    loaded = load_model(model, device)
    names = split_names(channels, loaded.spec.channels) or None
    with console.progress("evaluating") as progress:
        done = evaluate_model(cells, loaded, out, names, model, progress)
    metrics = done.metrics
    for warning in (*guessing_warnings(metrics), *done.warnings):
        console.say(f"Warning: {warning}")
    if metrics["trained_on"]:
        console.say(
            f"Warning: the model was trained on {metrics['trained_on']} of these "
            f"{metrics['n']} cells; the figures are too good."
        )
    interval = metrics["intervals"]["balanced_accuracy"]
    interval_text = (
        f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
        if interval
        else "cells of one group"
    )
    console.say(
        f"{metrics['n']} cells: balanced accuracy {metrics['balanced_accuracy']:.3f} "
        f"({interval_text}), accuracy {metrics['accuracy']:.3f}, macro F1 "
        f"{metrics['macro_f1']:.3f}, calibration error {metrics['ece']:.3f}."
    )
    console.say(f"Wrote {out / 'report.html'}, metrics.json and calls.csv")
    if explanations:
        from cellcam_training.judging.explanation_report import evaluate_explanations

        with console.progress("explaining, batches") as progress:
            explained = evaluate_explanations(cells, loaded, out, names, masks, progress)
        _say_explanations(explained, console)
        console.say(f"Wrote {out / 'explanations.html'}, .json and .csv")
    console.report(metrics)


def certify(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[
        Path, typer.Option(help="Cell table, as for train, of cells without part in the training.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", callback=writable_folder)],
    about: Annotated[
        list[str] | None,
        typer.Option(
            help='What only you know, such as "licence of the model=MIT"; may be repeated.'
        ),
    ] = None,
    class_column: ClassColumn = "cls",
    group_column: GroupColumn = None,
    only: Only = None,
    image: Image = None,
    channels: Channels = None,
    axes: Axes = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Answer what a facility asks about a model: a page, and JSON."""
    with _training_packages():
        from cellcam_training.judging.certificate import certify as write_certificate
        from cellcam_training.judging.certificate import check_about
    from cellcam.models.bundle import read_spec

    console = Console(quiet, json)
    stated = dict(name_and_value(text, "NAME=TEXT") for text in about or ())
    check_about(stated)
    names = split_names(channels, read_spec(model).channels) or None
    cells = _cells_to_judge(data, class_column, group_column, only, image, axes, console)
    with console.progress("certifying") as progress:
        items = write_certificate(model, cells, out, stated, names, device, progress)
    for item in items:
        console.say(f"{'answered' if item.is_filled else 'MISSING '}  {item.name}")
    missing = [item.name for item in items if not item.is_filled]
    console.say(f"{len(items) - len(missing)} of {len(items)} items are answered.")
    console.say(f"Wrote {out / 'certificate.html'}, .json, report.html, metrics.json and calls.csv")
    console.report({"out": str(out), "items": len(items), "missing": list(missing)})


def benchmark(
    name: Annotated[str, typer.Argument(help="planted: simulated cells with known evidence.")],
    out: Annotated[
        Path, typer.Option(help="Folder for cells, models and results.", callback=writable_folder)
    ],
    cells: Annotated[
        int, typer.Option(help="Number of simulated cells to train each network on.")
    ] = 800,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 30,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Evaluate explanations on known truth: planted evidence, and a network that cheats."""
    if name != "planted":
        raise UsageError(f"There is no benchmark {name!r}; there is: planted.")
    with _training_packages():
        from cellcam_training.simulated.planted_benchmark import run_planted

    console = Console(quiet, json)
    with console.progress("planted benchmark") as progress:
        results, confounder = run_planted(
            out, cells, epochs=epochs, device=device, progress=progress
        )
    for result in results:
        console.say(
            f"{result.difficulty}: {result.accuracy:.1%} of new cells called correctly; the "
            f"largest channel share is that of a planted stain in {result.stain_named.value:.0%}; "
            f"evidence fills {result.by_chance:.1%} of a crop."
        )
        _say_explanations(result.metrics, console)
    console.say(
        f"Importance outside the cell: {confounder.outside_cheating.value:.0%} for the cheating "
        f"network, {confounder.outside_honest.value:.0%} for the honest network."
    )
    console.say(f"Wrote {out}")
    console.report({"out": str(out)})


def _say_explanations(metrics: ExplanationMetrics, console: Console) -> None:
    """Print the means of the methods, and the sanity checks that failed."""
    means = metrics.summary.pivot(index="method", columns="metric", values="mean")
    order = metrics.costs["method"]
    shown = [name for name in ("ebpg", "bbox", "drop", "increase") if name in means]
    if "ebpg" not in means:
        console.say(
            "  The outlines of the cells are unknown: EBPG, Bbox and the pointing game are left "
            "out. Give masks with --masks, or cells as boxes or labels."
        )
    for method in order:
        listed = ", ".join(f"{name} {means.loc[method, name]:.3g}" for name in shown)
        console.say(f"  {method}: {listed}")
    for check in metrics.checks:
        if not check.passed:
            console.say(f"  Warning: {check.name} is {check.figure.value:.3g}, {check.expected}.")
    for reason in metrics.left_out:
        console.say(f"  {reason}")


def _cross_validated(
    cells: CellTable,
    crops: CropSet,
    recipe: Recipe,
    folds: int,
    out: Path,
    device: str,
    console: Console,
) -> CrossValidationSummary:
    """Cross-validate, and write the summary into the folder of the model that is trained next."""
    from cellcam.stacks.writing import write_json
    from cellcam_training.fitting.cross_validation import cross_validate
    from cellcam_training.fitting.distributed_training import is_first_process
    from cellcam_training.fitting.trainer import scratch_folder

    with console.progress("cross-validation") as progress:
        validated = cross_validate(
            cells, crops, recipe, folds, scratch_folder(out), device, progress
        )
    summary = validated.summary(cells.classes)
    if is_first_process():
        write_json(out / "docs" / "cross_validation.json", summary)
    mean, spread = summary["mean"], summary["spread"]
    console.say(
        f"Over {folds} folds: balanced accuracy {mean['balanced_accuracy']:.3f} "
        f"(spread {spread['balanced_accuracy']:.3f}), calibration error {mean['ece']:.3f}."
    )
    return summary


def _crop_size(text: str | None) -> int | tuple[int, ...] | None:
    """Pixels of a crop: one number for all axes, or several."""
    try:
        sizes = tuple(int(number) for number in split_names(text))
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise UsageError(f"--crop-size {text}: write one number, Y,X or Z,Y,X, in pixels.")
    return sizes if len(sizes) > 1 else (sizes or (None,))[0]


@contextmanager
def _goes_on() -> Iterator[None]:
    """Turn Ctrl-C in the body into an error that says that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError("stopped; the same command goes on where it was.") from error


@contextmanager
def _training_packages() -> Iterator[None]:
    """Turn a missing package in the body into an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Training needs the package {error.name}: {how_to_install('train')} brings it."
        ) from error
