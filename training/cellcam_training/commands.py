"""The commands that this package adds to ``cellcam``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellcam.cli import Device, Json, Quiet
from cellcam.console import Console
from cellcam.errors import UsageError


def train(
    table: Annotated[Path, typer.Argument(help="Cell table, CSV or Parquet.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    recipe: Annotated[Path | None, typer.Option(help="Recipe, YAML.")] = None,
    class_column: Annotated[str, typer.Option(help="Column with the class.")] = "cls",
    group_column: Annotated[
        str | None, typer.Option(help="Plate, movie or patient: never split across.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Names, separated by commas.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a classifier on a cell table."""
    try:
        from cellcam_training.cell_table import read_cell_table
        from cellcam_training.recipe import read_recipe
        from cellcam_training.trainer import train_model
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Training needs the package {error.name}: pip install 'cellcam[train]' brings it."
        ) from error

    console = Console(quiet, json)
    chosen = read_recipe(recipe)
    if channels:
        names = tuple(name.strip() for name in channels.split(","))
        chosen = chosen.model_copy(update={"channels": names})
    cells = read_cell_table(table, class_column, group_column)
    console.say(f"{len(cells.rows)} cells of the classes {', '.join(cells.classes)}.")
    with console.progress("training, epochs") as progress:
        model = train_model(cells, chosen, out, device, progress)
    training = model.spec.training
    metrics = training["validation"]
    assert isinstance(metrics, dict)
    console.say(
        f"On {metrics['n']} cells kept for validation: balanced accuracy "
        f"{metrics['balanced_accuracy']:.3f}, accuracy {metrics['accuracy']:.3f} "
        f"(the best of {training['epochs']} epochs, {training['seconds']} s)."
    )
    console.say(f"Wrote {out}")
    console.report({"model": str(out), "validation": metrics})
