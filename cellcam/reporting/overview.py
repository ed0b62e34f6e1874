"""The overview picture of a field: the cells, their calls, and where the evidence lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.numbering import by_label
from cellcam.reporting.cell_pictures import composite_image
from cellcam.reporting.colours import (
    CHANNELS,
    IMPORTANCE_COLORMAP,
    IMPORTANCE_GAMMA,
    IMPORTANCE_OPACITY,
    UNKNOWN_CLASS,
    class_colours,
)
from cellcam.stacks.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_SCALE_LABEL = (
    "importance for the class\n(same scale everywhere; it is not the confidence of the call)"
)
# Of the stripes that stand for no data.
_NO_DATA_GREYS = (0.45, 0.25)
_FEW = 8  # classes; all are in the legend, of more those with cells
_COLUMNS = 3
# Inches. A layout engine of matplotlib would draw each picture twice to find them.
_PANEL, _GAP, _PANEL_TITLE = 4.0, 0.12, 0.5
_BAR, _LINE, _HEADING_LINE = 1.1, 0.26, 0.3
_LEGEND_COLUMNS = 6
# Level 6, the default, takes a third of the time of a picture for a tenth of its size.
_COMPRESSION = {"compress_level": 1}


@dataclass(frozen=True, eq=False)
class FieldPicture:
    """Content of the overview of one field.

    Attributes
    ----------
    pixels : (C, Y, X) array, or (C, Z, Y, X), shown as its maximum projection
    channels : C names
    labels : (Y, X) or (Z, Y, X) label image
    calls : class of every label; None for a cell without a call
    classes : P names
    maps : (P, Y, X) or (P, Z, Y, X) importance
    pixel_size_um : for the scale bar; none is drawn where it is unknown
    explained : labels of the cells that were explained; None: all
    missing : pixels without data, of the shape of ``labels``; None if all have
    """

    pixels: NDArray[np.number]
    channels: Sequence[str]
    labels: NDArray[np.int32]
    calls: Mapping[int, str | None]
    classes: Sequence[str]
    maps: NDArray[np.float32]
    pixel_size_um: float | None = None
    explained: Set[int] | None = None
    missing: NDArray[np.bool_] | None = None

    def from_above(self) -> FieldPicture:
        """Maximum projection of pixels, maps and labels along z."""
        if self.labels.ndim == 2:
            return self
        return replace(
            self,
            pixels=self.pixels.max(1),
            maps=self.maps.max(1),
            labels=self.labels.max(0),
            missing=None if self.missing is None else np.all(self.missing, axis=0),
        )

    def with_evidence(self) -> FieldPicture:
        """The classes with evidence anywhere."""
        shown = [i for i, plane in enumerate(self.maps) if plane.any()]
        return replace(self, classes=[self.classes[i] for i in shown], maps=self.maps[shown])

    @property
    def n_explained(self) -> int:
        """Number of cells that were explained."""
        return len(self.calls) if self.explained is None else len(self.explained)

    def what_is_not_shown(self) -> str:
        """Why there is less evidence than cells; empty if there is not."""
        if not self.calls or (self.n_explained == len(self.calls) and len(self.maps)):
            return ""
        if not self.n_explained:
            return "No cell was explained: there is no evidence to show."
        if not len(self.maps):
            return "All maps are empty: nothing in the cells raises the score of their class."
        return f"Only {self.n_explained} of {len(self.calls)} cells were explained."


def draw_overview(path: Path, field: FieldPicture, title: str = "") -> None:
    """Draw a PNG: the calls in the first panel, then a panel for each class with evidence."""
    field = field.from_above()
    colours = class_colours(field.classes)
    field = field.with_evidence()
    heading = _heading(title, field)
    counts = Counter(field.calls.values())
    legend = _legend(colours, counts, field.missing is not None)
    figure, axes = _panels(field, heading.count("\n") + 1, -(-len(legend) // _LEGEND_COLUMNS))
    for axis in axes:
        axis.set_axis_off()
    composite = composite_image(field.pixels, field.missing)
    grey = composite.mean(-1)
    if field.missing is not None:
        stripes = _stripes(field.missing.shape)[field.missing]
        composite[field.missing], grey[field.missing] = stripes[:, None], stripes
    _draw_calls(axes[0], composite, field, colours)
    brightest = _end_of_scale(field.maps)
    picture = None
    for axis, name, plane in zip(axes[1:], field.classes, field.maps, strict=False):
        picture = _draw_evidence(axis, grey, plane, brightest)
        called = np.isin(field.labels, [n for n, call in field.calls.items() if call == name])
        if called.any():
            axis.contour(called, [0.5], colors=[colours[name]], linewidths=0.6)
        axis.set_title(f"evidence for {name}  ({counts[name]} called)", fontsize=10)
    figure.suptitle(heading, fontsize=12, y=1 - 0.08 / figure.get_figheight(), va="top")
    if picture is not None:
        _draw_scale(figure, picture, brightest)
    figure.legend(handles=legend, loc="lower center", ncols=_LEGEND_COLUMNS, fontsize=9)
    with whole_file(path) as temporary:
        metadata = {"Software": "CellCam"}
        figure.savefig(temporary, facecolor="white", metadata=metadata, pil_kwargs=_COMPRESSION)


def _panels(
    field: FieldPicture, heading_lines: int, legend_lines: int
) -> tuple[Figure, NDArray[np.object_]]:
    """Figure with a panel for the calls and one for each class, of the shape of the field."""
    from matplotlib.figure import Figure

    rows = -(-(len(field.classes) + 1) // _COLUMNS)
    panel = _PANEL * field.labels.shape[0] / field.labels.shape[1]
    top = _HEADING_LINE * heading_lines + _PANEL_TITLE + 0.1
    bottom = _LINE * legend_lines + 0.2
    width = _COLUMNS * (_PANEL + _GAP) + (_BAR if len(field.classes) else 0)
    height = top + rows * panel + (rows - 1) * _PANEL_TITLE + bottom
    figure = Figure((width, height), dpi=130)
    axes = figure.subplots(
        rows,
        _COLUMNS,
        squeeze=False,
        gridspec_kw={
            "left": _GAP / width,
            "right": _COLUMNS * (_PANEL + _GAP) / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "wspace": _GAP / _PANEL,
            "hspace": _PANEL_TITLE / panel,
        },
    )
    return figure, axes.ravel()


def _draw_scale(figure: Figure, picture: AxesImage, brightest: float) -> None:
    """Colour bar at the right edge."""
    width = figure.get_figwidth()
    place = figure.add_axes(((width - _BAR + 0.12) / width, 0.2, 0.12 / width, 0.6))
    ticks = brightest * np.array([0, 0.05, 0.2, 0.5, 1])
    bar = figure.colorbar(picture, cax=place, ticks=ticks, format="%.2g")
    bar.set_label(_SCALE_LABEL, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _heading(title: str, field: FieldPicture) -> str:
    missing = field.what_is_not_shown()
    grey = " (grey: all channels together)" if len(field.maps) else ""
    return f"{title}{grey}" + (f"\n{missing}" if missing else "")


def _end_of_scale(maps: NDArray[np.float32]) -> float:
    """Importance that is drawn brightest; few pixels may be brighter."""
    if not maps.any():
        return 0.0
    # Where little of the field has evidence, the quantile of all pixels can be 0.
    return float(np.quantile(maps, 0.999)) or float(np.quantile(maps[maps > 0], 0.9))


def _draw_calls(
    axis: Axes,
    composite: NDArray[np.float32],
    field: FieldPicture,
    colours: Mapping[str, str],
) -> None:
    from matplotlib.colors import to_rgb
    from skimage.segmentation import expand_labels, find_boundaries

    picture = composite.copy()
    outline = find_boundaries(field.labels, mode="thick")
    shades = [to_rgb(colours.get(name or "", UNKNOWN_CLASS)) for name in field.calls.values()]
    coloured = by_label(
        expand_labels(field.labels, 1),
        np.array(list(field.calls), np.int64),
        np.array(shades, np.float32).reshape(-1, 3),
    )
    picture[outline] = coloured[outline]
    axis.imshow(picture, interpolation="nearest")
    named = zip(field.channels, CHANNELS, strict=False)
    single = len(field.channels) == 1
    shown = field.channels[0] if single else ", ".join(f"{c} {colour}" for c, colour in named)
    axis.set_title(f"{len(field.calls)} cells and their calls\n({shown})", fontsize=10)
    if field.pixel_size_um:
        _draw_scale_bar(axis, field.pixel_size_um, *field.labels.shape)


def _draw_evidence(
    axis: Axes, grey: NDArray[np.float32], plane: NDArray[np.float32], brightest: float
) -> AxesImage:
    """Evidence over the grey image, transparent where there is none."""
    from matplotlib.colors import PowerNorm

    axis.imshow(grey, cmap="gray", vmin=0, vmax=1.4)
    norm = PowerNorm(IMPORTANCE_GAMMA, 0, brightest, clip=True)
    strength = np.asarray(norm(plane), float)
    return axis.imshow(
        plane, cmap=IMPORTANCE_COLORMAP, norm=norm, alpha=IMPORTANCE_OPACITY * strength
    )


def _stripes(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Diagonal stripes of two greys, some tens across the field, which mean: no data."""
    width = max(2, min(shape) // 60)
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.where((y + x) // width % 2, *_NO_DATA_GREYS).astype(np.float32)


def _legend(
    colours: Mapping[str, str], counts: Mapping[str | None, int], lacks_data: bool
) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    classes: list[Artist] = [
        Line2D([], [], color=colour, lw=4, label=f"{name}: {counts[name]} cells")
        for name, colour in colours.items()
        if counts[name] or len(colours) <= _FEW
    ]
    if counts[None]:
        label = f"no call: {counts[None]} cells"
        classes.append(Patch(facecolor=UNKNOWN_CLASS, edgecolor="black", label=label))
    if lacks_data:
        dark, light = (str(grey) for grey in _NO_DATA_GREYS)
        classes.append(Patch(facecolor=dark, edgecolor=light, hatch="////", label="no data"))
    return classes


def _draw_scale_bar(axis: Axes, pixel_size_um: float, height: int, width: int) -> None:
    wanted = width * pixel_size_um / 5
    length = max((n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n <= wanted), default=1)
    right, y = width * 0.96, height * 0.05
    axis.plot([right - length / pixel_size_um, right], [y, y], color="white", lw=3)
    middle = right - length / pixel_size_um / 2
    axis.text(
        middle, y + height * 0.02, f"{length} µm", color="white", ha="center", va="top", fontsize=8
    )
