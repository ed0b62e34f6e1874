from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cellcam.reporting.overview import FieldPicture, draw_overview


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
    assert picture(5, ()).with_evidence().classes == ["class 0"]


def test_volumes_are_drawn_as_projections(tmp_path: Path) -> None:
    draw_overview(tmp_path / "a.png", picture(depth=4), "title")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10


def test_evidence_is_where_the_map_is(tmp_path: Path) -> None:
    """With and without evidence, the pictures differ in the evidence panel."""
    draw_overview(tmp_path / "with.png", picture())
    draw_overview(tmp_path / "without.png", picture(shown=()))
    pictures = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("with", "without"))
    assert np.not_equal(*pictures).any()
