"""Options that several commands share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cellcam.cells.finder import make_finder
from cellcam.errors import UsageError
from cellcam.names import joined_names, split_names
from cellcam.request import (
    CLASS_WORDS,
    DEFAULT_RTOL,
    PLANE_WORDS,
    Classes,
    ImageOptions,
    PlanesWanted,
    Request,
)
from cellcam.stacks.writing import writable_folder

_Result = TypeVar("_Result")

Out = Annotated[Path, typer.Option(help="Folder for the results.", callback=writable_folder)]
Model = Annotated[Path, typer.Option(help="Model folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Engine = Annotated[
    str,
    typer.Option(
        help="Computes the calls: torch, or openvino (for slow networks and many cells on CPUs; "
        "needs the extra openvino). Maps are always computed by torch."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Axes = Annotated[
    str | None, typer.Option(help="Axes of the file, such as CYX, where it does not state them.")
]
Series = Annotated[
    int | None, typer.Option(help="Which image of the file, from 0, where it holds several.")
]


def request_from_options(
    classes: Annotated[
        str,
        typer.Option(
            help='Maps: predicted (each cell\'s own call), all, or class names A,B,"C, D".'
        ),
    ] = "predicted",
    explain: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the cells to explain; all are classified.")
    ] = 1.0,
    t: Annotated[int | None, typer.Option("--t", help="Time point, from 0; else all.")] = None,
    z: Annotated[
        str | None,
        typer.Option(
            "--z", help="Plane number, each, max, mean or volume; else as the model was trained."
        ),
    ] = None,
    axes: Axes = None,
    channels: Annotated[
        str | None,
        typer.Option(help="Names of the image's channels in the file's order: A,B,\"C, D\"."),
    ] = None,
    map: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option("--map", help="MODEL_CHANNEL=IMAGE_CHANNEL, may be repeated."),
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            help="Pixel size in um, where the file does not state it: one number, Y,X or Z,Y,X."
        ),
    ] = None,
    series: Series = None,
    tolerate_missing: Annotated[
        bool,
        typer.Option(
            "--tolerate-missing",
            help="Count planes, tiles and chunks that are not in the file as no data.",
        ),
    ] = False,
    finder: Annotated[
        str, typer.Option(help="How cells are found: threshold, or an installed finder.")
    ] = "threshold",
    find_channel: Annotated[
        str | None,
        typer.Option(help="Channel that shows the cells; several together: red,green,blue."),
    ] = None,
    diameter_um: Annotated[
        float | None,
        typer.Option(help="Typical diameter of a cell in um; 10 where the model does not say."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Intensity of the smoothed channel beyond which a pixel is cell."),
    ] = None,
    look_for: Annotated[
        str | None,
        typer.Option(
            help="Cells are bright, dark, or nuclei in hematoxylin (H&E); auto: dark in colour "
            "pictures in white light, else bright."
        ),
    ] = None,
    finder_option: Annotated[
        list[str] | None,
        typer.Option(help="OPTION=VALUE of the finder, may be repeated."),
    ] = None,
    rtol: Annotated[
        float, typer.Option(help="Estimated relative error to reach in a cell's strongest map.")
    ] = DEFAULT_RTOL,
) -> Request:
    """Request that the options of the command line ask for."""
    options: dict[str, object] = dict(
        name_and_value(text, "OPTION=VALUE") for text in finder_option or ()
    )
    known = {
        "channel": find_channel,
        "diameter_um": diameter_um,
        "threshold": threshold,
        "look_for": look_for,
    }
    options |= {name: value for name, value in known.items() if value is not None}
    names = split_names(channels) or None
    return Request(
        image=ImageOptions(axes, names, _pixel_size(pixel_size), series, tolerate_missing),
        finder=make_finder(finder, options),
        channel_map=tuple(
            name_and_value(text, "MODEL_CHANNEL=IMAGE_CHANNEL") for text in map or ()
        ),
        t=t,
        z=_plane(z),
        classes=_classes(classes),
        explained=explain,
        rtol=rtol,
    )


def takes_request(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """Give a command all options of `request_from_options`; it receives them as ``request``."""
    own = inspect.signature(command, eval_str=True).parameters
    options = inspect.signature(request_from_options, eval_str=True).parameters

    @wraps(command)
    def with_options(**given: object) -> _Result:
        chosen = {name: given.pop(name) for name in options}
        model = given.get("model")
        chosen = _with_names_of(model, chosen) if isinstance(model, Path) else chosen
        return command(**given, request=request_from_options(**chosen))  # type: ignore[arg-type]

    parameters = [parameter for name, parameter in own.items() if name != "request"]
    merged = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in [*parameters, *options.values()]
    ]
    with_options.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in merged}
    return with_options


def _quoted(text: str | None, known: Collection[str]) -> str | None:
    """The list of names with quotation marks around known names that have commas."""
    return text and joined_names(split_names(text, known))


def _with_names_of(model: Path, chosen: dict[str, object]) -> dict[str, object]:
    """The options; in lists of names, classes and channels of a model may have commas."""
    lists = {name: text for name, text in chosen.items() if name in ("classes", "channels")}
    if not any(isinstance(text, str) and "," in text for text in lists.values()):
        return chosen
    from cellcam.models.bundle import read_spec

    spec = read_spec(model)
    known = {"classes": spec.classes, "channels": spec.channels}
    return chosen | {n: _quoted(t, known[n]) for n, t in lists.items() if isinstance(t, str)}


def _classes(text: str) -> Classes:
    return CLASS_WORDS[text] if text in CLASS_WORDS else split_names(text)


def _plane(text: str | None) -> PlanesWanted:
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    if text in PLANE_WORDS:
        return PLANE_WORDS[text]
    raise UsageError(f"--z {text}: give a plane number, {', '.join(PLANE_WORDS)}.")


def _pixel_size(text: str | None) -> float | tuple[float, ...] | None:
    sizes = numbers_of(text, "--pixel-size")
    return sizes if len(sizes) > 1 else (sizes or (None,))[0]


def numbers_of(text: str | None, option: str) -> tuple[float, ...]:
    """Numbers of a list such as ``0.5,0.5``; the option is named in the error."""
    try:
        return tuple(map(float, split_names(text)))
    except ValueError:
        raise UsageError(f"{option} {text}: write numbers, separated by commas.") from None


def name_and_value(text: str, form: str) -> tuple[str, str]:
    """Both sides of ``NAME=VALUE``; ``form`` says in the error how to write it."""
    name, _, value = text.partition("=")
    if not (name and value):
        raise typer.BadParameter(f"{text!r}: write {form}.")
    return name, value
