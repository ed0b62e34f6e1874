"""The command line: each command reads its options and makes one call into the library."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from math import inf
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cellcam.cli_options import (
    Axes,
    Device,
    Engine,
    Json,
    Model,
    Out,
    Quiet,
    Series,
    numbers_of,
    takes_request,
)
from cellcam.console import Console
from cellcam.errors import CellCamError, StoppedError, UsageError, full_disk, is_full_disk
from cellcam.names import split_names
from cellcam.request import Request
from cellcam.stacks.writing import writable_file

_STOPPED = "stopped before the end; the same command begins again."


class _Commands(TyperGroup):
    """Commands that end in an error of CellCam when they are stopped with Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Typer itself would make status 130 of an interrupt, and say nothing."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise StoppedError(_STOPPED) from error


app = typer.Typer(
    name="cellcam",
    cls=_Commands,
    help="What is this cell, and what in the image says so? For research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Out = Path("cellcam-demo"),
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Explain the packaged sample with the packaged model, and compare with its truth."""
    from cellcam.pipeline.demo import run_demo

    console = Console(quiet, json)
    with console.progress("explaining cells") as progress:
        done, truth = run_demo(out, device, progress)
    console.say(
        f"{truth.n_cells} simulated cells: {truth.n_found} found, "
        f"{truth.n_correct} of these called correctly."
    )
    console.say(
        f"Importance on the planted evidence: {truth.on_evidence:.0%} in the mean; "
        f"{truth.by_chance:.1%} if it were spread evenly "
        f"({truth.on_evidence / truth.by_chance:.0f} times chance)."
    )
    _say_written(console, done.written)
    overview = next(path for path in done.written if path.name.endswith(".overview.png"))
    console.say(f"Open {overview}.")
    console.report({"truth": vars(truth), "written": [str(path) for path in done.written]})


@app.command()
@takes_request
def explain(
    image: Annotated[
        Path, typer.Argument(help="TIFF, OME-Zarr, CZI, ND2, LIF, SVS, NDPI, SCN, PNG or JPEG.")
    ],
    model: Model,
    out: Out,
    request: Request,
    labels: Annotated[
        Path | None,
        typer.Option(help="Your cells: a label image, GeoJSON, COCO, ROIs, _seg.npy, ..."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Call every cell of one stack and show where the evidence lies."""
    from cellcam.exchange.labels import open_labels
    from cellcam.models.bundle import load_model, read_spec
    from cellcam.pipeline.explain_stack import explain_stack
    from cellcam.pipeline.matching import matching_channels

    console = Console(quiet, json)
    stack = request.open(image)
    # The model takes seconds to load: check first whether it fits the image.
    matching_channels(stack, read_spec(model), dict(request.channel_map))
    facts = request.image
    own_labels = open_labels(labels, stack, facts.axes, facts.series) if labels else None
    with console.progress("explaining cells") as progress:
        done = explain_stack(
            stack,
            load_model(model, device),
            out,
            request,
            labels=own_labels,
            progress=progress,
        )
    counts = done.cells["class"].value_counts()
    if len(done.cells):
        parts = [f"{n} {name}" for name, n in counts.items()]
        if without := int(done.cells["class"].isna().sum()):
            parts.append(f"{without} without a call (see flags)")
        listed = ", ".join(parts)
        console.say(f"{len(done.cells)} cells: {listed}.")
    else:
        console.say("0 cells: --diameter-um says how large they are, --labels where.")
    for note in done.notes:
        console.say(f"Note: {note}")
    _say_written(console, done.written)
    console.report(
        {
            "notes": list(done.notes),
            "cells": len(done.cells),
            "classes": {str(name): int(n) for name, n in counts.items()},
            "written": [str(path) for path in done.written],
        }
    )


@app.command()
@takes_request
def batch(
    paths: Annotated[list[Path], typer.Argument(help="Folders of images, or images.")],
    model: Model,
    out: Out,
    request: Request,
    labels: Annotated[
        str | None,
        typer.Option(help="Your cells: masks/{name}.tif, .geojson, ..., seen from the image."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with named groups for Metadata_ columns."),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="Table of wells (CSV: Well, perhaps Plate, ...), joined to the cells."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="tcp://HOST:PORT, tls://..., a scheduler file, or sync; else local."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes here; one per GPU, or per core.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n, from 0: only this share, merged by a run without it.")
    ] = None,
    device: Device = "auto",
    engine: Engine = "torch",
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Call and explain the cells of many stacks; goes on where an earlier run stopped."""
    from cellcam.batch.records import failure_lines
    from cellcam.batch.run import Resources, run_batch

    console = Console(quiet, json)
    resources = Resources(scheduler, workers, _shard(shard), device, engine)
    with console.progress("images and blocks") as progress:
        done = run_batch(
            paths,
            model,
            out,
            request,
            resources=resources,
            labels=labels,
            pattern=pattern,
            metadata=metadata,
            progress=progress,
        )
    if done is None:
        console.say(f"Shard {shard} is done. The same command without --shard merges all shards.")
        console.report({"shard": shard})
        return 0
    for line in failure_lines(done.failed):
        console.say(line)
    for image, note in done.notes[:10]:
        console.say(f"Note: {image}: {note}")
    images = len(done.outcomes)
    console.say(f"{done.cells} cells in {images - len(done.failed)} of {images} images.")
    if done.explained < done.cells:
        console.say(f"{done.explained} of the cells were explained.")
    for sentence in done.earlier:
        console.say(sentence)
    _say_written(console, done.written)
    console.report(
        {
            "images": images,
            "failed": {outcome.image: outcome.reason for outcome in done.failed},
            "notes": {outcome.image: list(outcome.notes) for outcome in done.outcomes},
            "cells": done.cells,
            "explained": done.explained,
            "earlier": list(done.earlier),
            "written": [str(path) for path in done.written],
        }
    )
    return 2 if done.failed else 0


@app.command()
def export(
    image: Annotated[
        Path, typer.Argument(help="OME-Zarr folder, NAME.maps.ome.zarr; or the folder of a run.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="OME-TIFF to write; of a run's cells NAME.geojson (QuPath), NAME.h5ad or "
            "NAME.zarr (SpatialData). Of several images '{name}.geojson'.",
            callback=writable_file,
        ),
    ],
    quiet: Quiet = False,
) -> None:
    """Write an OME-Zarr result as one OME-TIFF, or the cells of a run for other programs."""
    from cellcam.pipeline.export_cells import check_image_target, export_cells, is_cell_file

    console = Console(quiet)
    written: Sequence[Path] = [out]
    if is_cell_file(out):
        done = export_cells(image, out)
        written = done.written
        console.say(f"{done.cells} cells.")
        for note in done.notes:
            console.say(f"Note: {note}")
    elif out.suffix == ".h5ad":
        from cellcam.exchange.anndata import export_anndata

        export_anndata(image, out)
    elif out.suffix == ".zarr":
        from cellcam.pipeline.export_spatialdata import export_spatialdata

        for note in export_spatialdata(image, out):
            console.say(f"Note: {note}")
    else:
        from cellcam.stacks.ome_zarr import export_tiff

        check_image_target(image, out)
        export_tiff(image, out)
    _say_written(console, written)


@app.command("import-bundle")
def import_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder of a MONAI Bundle for classification.")],
    out: Out,
    offset: Annotated[
        str, typer.Option(help="What the network subtracts from the counts of each channel: 10,0.")
    ],
    scale: Annotated[str, typer.Option(help="What it then divides them by: 100,50.")],
    channels: Annotated[str | None, typer.Option(help="Names, where it does not say.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names, where it does not say.")] = None,
    crop_size: Annotated[
        str | None, typer.Option(help="Pixels of a crop, Y,X or Z,Y,X, where it does not say.")
    ] = None,
    pixel_size: Annotated[
        str | None, typer.Option(help="Pixel size of its crops in um: one number, Y,X or Z,Y,X.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a model folder of somebody's MONAI Bundle; nothing in it is executed."""
    from cellcam.models.foreign_bundle import import_bundle as make_model
    from cellcam.models.normalisation import Normalisation

    pixel = numbers_of(pixel_size, "--pixel-size") or None
    scales = numbers_of(scale, "--scale")
    if not all(0 < one < inf for one in scales):
        raise UsageError(f"--scale {scale}: counts are divided by it, so it must be positive.")
    model = make_model(
        bundle,
        out,
        normalisation=Normalisation(offset=numbers_of(offset, "--offset"), scale=scales),
        channels=split_names(channels) or None,
        classes=split_names(classes) or None,
        crop_size=[int(edge) for edge in numbers_of(crop_size, "--crop-size")] or None,
        pixel_size_um=pixel * 2 if pixel and len(pixel) == 1 else pixel,
    )
    spec = model.spec
    console = Console(as_json=json)
    console.say(f"{spec.network}: {', '.join(spec.channels)} -> {', '.join(spec.classes)}.")
    console.say(f"Note: {spec.note}")
    console.report({"written": str(out), "network": spec.network, "classes": list(spec.classes)})


@app.command()
def info(
    path: Annotated[Path | None, typer.Argument(help="An image or a model folder.")] = None,
    axes: Axes = None,
    series: Series = None,
    json: Json = False,
) -> None:
    """Versions and devices; or a summary of an image or a model folder."""
    from cellcam.information import about_image, about_machine, about_model
    from cellcam.stacks.formats import format_of

    if path is None:
        content = about_machine()
    elif path.is_dir() and not format_of(path).is_folder:
        content = about_model(path)
    else:
        content = about_image(path, axes, series)
    console = Console(as_json=json)
    for name, value in content.items():
        if isinstance(value, dict):
            value = "; ".join(f"{key}: {about}" for key, about in value.items())
        console.say(f"{name + ':':<16}{value}")
    console.report(content)


def main() -> None:
    """Run a command; CellCam's own errors end it with their message and status 1 or 3."""
    try:
        add_commands_of_packages()
        status = app(standalone_mode=False)
    except (CellCamError, typer.TyperException) as error:
        # Typer's status for wrong usage is 2, which here means that some inputs failed.
        message = str(error)
        if isinstance(error, typer.TyperException):
            message = f"{error.format_message()}{_dashed_file()}"
        _fail(message, 3 if isinstance(error, StoppedError) else 1)
    except ImportError as error:
        _fail(f"A package is missing: {error}. Install CellCam again.", 1)
    except OSError as error:
        _fail(_file_problem(error), 3 if is_full_disk(error) else 1)
    except (typer.Abort, KeyboardInterrupt):
        _fail(_STOPPED, 3)
    sys.exit(status)


def _dashed_file() -> str:
    """Hint at a file whose name looks like an option."""
    dashed = (text for text in sys.argv[1:] if text.startswith("-") and Path(text).exists())
    return next((f" For the file of this name, write ./{text}" for text in dashed), "")


@cache
def add_commands_of_packages() -> None:
    """Add the commands of installed packages, once however often `main` is called."""
    for command in entry_points(group="cellcam.commands"):
        app.command(command.name)(command.load())


def _fail(message: str, status: int) -> NoReturn:
    """End the program with a message for people, and with ``--json`` an object for machines."""
    if message:  # empty where typer showed the help instead
        print(f"cellcam: {message}", file=sys.stderr)
        # Wrong usage ends a command before it has read its options.
        Console(as_json="--json" in sys.argv).report({"error": message, "status": status})
    sys.exit(status)


def _file_problem(error: OSError) -> str:
    """What the operating system refused, where, and what to do."""
    if is_full_disk(error):
        return str(full_disk(error))
    where = error.filename or "a file"
    why = error.strerror or str(error)
    return f"{where} cannot be used: {why}. Check that it exists and that you may read or write it."


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UsageError(f"--shard {text}: write i/n with i from 0 to n - 1, such as 0/3.")
    return int(number), int(count)


def _say_written(console: Console, written: Iterable[Path]) -> None:
    console.say("Wrote")
    for path in written:
        console.say(f"  {path}")
