from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cellcam.reporting.overview import FieldPicture, _end_of_scale, draw_overview


def picture(n_classes: int = 3, shown: tuple[int, ...] = (1,), depth: int = 0) -> FieldPicture:
    shape = (depth, 30, 40) if depth else (30, 40)
    labels = np.zeros(shape, np.int32)
    labels[..., 5:15, 5:15] = 4
    maps = np.zeros((n_classes, *shape), np.float32)
    for plane in shown:
        maps[plane][..., 8:12, 8:12] = 0.5
    pixels = np.random.default_rng(0).poisson(50, (2, *shape)).astype(np.uint16)
    classes = [f"class {i}" for i in range(n_classes)]
    return FieldPicture(pixels, ["DNA", "actin"], labels, {4: "class 1"}, classes, maps, 0.5)


def test_classes_without_evidence_get_no_panel() -> None:
    assert picture(16, (3, 7)).with_evidence().classes == ["class 3", "class 7"]
    assert picture(5, ()).with_evidence().classes == []


def test_volumes_are_drawn_as_projections(tmp_path: Path) -> None:
    draw_overview(tmp_path / "a.png", picture(depth=4), "title")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10


@pytest.mark.fault(
    "overview of cells that were not explained",
    "no evidence panel and no scale; the heading says so",
)
@pytest.mark.parametrize(
    ("shown", "explained", "said"),
    [
        ((), set(), "No cell was explained"),
        ((), {4}, "All maps are empty"),
        ((1,), {4}, "Only 1 of 2 cells"),
        ((1,), None, ""),
    ],
)
def test_what_was_not_computed_is_said(
    tmp_path: Path, shown: tuple[int, ...], explained: set[int] | None, said: str
) -> None:
    field = replace(picture(shown=shown), calls={4: "class 1", 5: "class 2"}, explained=explained)
    field.labels[20:25, 20:25] = 5
    assert said in field.with_evidence().what_is_not_shown()
    assert bool(said) == bool(field.with_evidence().what_is_not_shown())
    scales: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "colorbar", _counted(scales, Figure.colorbar))
        draw_overview(tmp_path / "a.png", field)
    assert len(scales) == bool(shown)


def _counted(calls: list[object], draw: Callable[..., object]) -> Callable[..., object]:
    def drawn(*args: object, **options: object) -> object:
        calls.append(args)
        return draw(*args, **options)

    return drawn


def test_little_evidence_in_a_large_field_has_a_scale_of_its_own(tmp_path: Path) -> None:
    maps = np.zeros((1, 100, 100), np.float32)
    maps[0, :2, :2] = 0.5
    assert _end_of_scale(maps) == 0.5


def test_evidence_is_where_the_map_is(tmp_path: Path) -> None:
    """Evidence at the left or at the right of the field moves within its panel, the second."""
    left = picture()
    draw_overview(tmp_path / "left.png", left)
    draw_overview(tmp_path / "right.png", replace(left, maps=left.maps[..., ::-1]))
    pictures = [np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("left", "right")]
    changed = np.flatnonzero(np.not_equal(*pictures).any((0, 2)))
    panel, gap, dpi = 4.0, 0.12, 130  # inches
    # Of 40 columns, 8 to 12 and their mirror image.
    expected = [(panel + 2 * gap + panel * column / 40) * dpi for column in (8, 32)]
    np.testing.assert_allclose([changed[0], changed[-1]], expected, atol=15)
