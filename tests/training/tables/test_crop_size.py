"""Sizes of crops: asked for, taken from boxes and labels, measured around centres, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import CropSet, CropSettings, read_crops
from cellcam_training.tables.mean_profiles import mean_width
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.cell_tables import write_table

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff


def discs(radius: float, n: int = 24, dark: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A field of discs on a jittered grid, and their centres (N, 2)."""
    random = np.random.default_rng(0)
    step = int(3 * radius)
    side = int(np.ceil(np.sqrt(n)))
    grid = np.stack(np.mgrid[:side, :side], -1).reshape(-1, 2)[:n]
    centres = (grid + 0.5) * step + random.uniform(-radius / 4, radius / 4, (n, 2))
    y, x = np.mgrid[: side * step, : side * step]
    inside = np.zeros(y.shape, bool)
    for cy, cx in centres:
        inside |= np.hypot(y - cy, x - cx) < radius
    level = np.where(inside != dark, 900, 300)
    return random.poisson(level).astype(np.uint16), centres


@pytest.mark.fault(
    "A table of centres, which do not say how large the cells are",
    "Crops 1.5 times the cells, measured around the centres, and the figure is said",
)
@settings(max_examples=15)
@given(st.floats(5, 40), st.booleans())
def test_the_width_of_discs_is_measured_around_their_centres(radius: float, dark: bool) -> None:
    image, centres = discs(radius, dark=dark)
    found = mean_width([image], [centres], [1.0])
    assert found is not None
    # The edge is smoothed by one pixel, and centres lie between pixels.
    assert 2 * radius - 2 <= found.pixels <= 2.2 * radius + 6


@pytest.mark.parametrize("seed", range(8))
def test_random_places_have_no_width(seed: int) -> None:
    image, centres = discs(12)
    random = np.random.default_rng(seed)
    anywhere = random.uniform(0, np.array(image.shape), centres.shape)
    assert mean_width([image], [anywhere], [1.0]) is None


def test_red_blood_cells_are_measured_at_the_middle_of_their_boxes(shared_data: Path) -> None:
    """Boxes that people drew: the crop around centres shows 9 of 10 of them whole."""
    boxes = pd.read_csv(shared_data / "fov_boxes" / "boxes.csv")
    images = sorted(boxes["image"][boxes["image"].str.startswith("bccd")].unique())[:16]
    cells = boxes[boxes["image"].isin(images) & (boxes["cls"] == "RBC")]
    longest = np.maximum(cells["xmax"] - cells["xmin"], cells["ymax"] - cells["ymin"])
    x, y = (cells["xmin"] + cells["xmax"] - 1) / 2, (cells["ymin"] + cells["ymax"] - 1) / 2
    fields, centres = [], []
    for name in images:
        fields.append(np.asarray(Image.open(shared_data / "fov_boxes" / name))[..., 1])
        chosen = cells["image"] == name
        centres.append(np.stack([y[chosen], x[chosen]], 1))
    found = mean_width(fields, centres, [1.0] * len(fields))
    assert found is not None
    assert np.quantile(longest, 0.9) <= 1.5 * found.pixels <= 2 * np.median(longest)


def field(folder: Path, pixel_size: float | None = 0.5) -> tuple[CropSet, np.ndarray]:
    """Crops of a table of centres of discs of radius 12 with no size stated, and the image."""
    image, centres = discs(12)
    size = PixelSize(None, pixel_size, pixel_size)
    write_ome_tiff(folder / "image.ome.tif", image[None, None, None], ["DNA"], size)
    y, x = centres.T
    classes = (["a", "b"] * len(x))[: len(x)]
    path = write_table(folder, image="image.ome.tif", x=x, y=y, cls=classes)
    return read_crops(read_cell_table(path), CropSettings()), image


def test_crops_around_centres_show_cells_whole_and_say_why(tmp_path: Path) -> None:
    crops, _ = field(tmp_path)
    assert crops.crop_size in ((40, 40), (48, 48))
    assert crops.pixel_size_um == (0.5, 0.5)
    assert "1.5 times the cells" in crops.why_size
    assert "channel DNA around 24 centres" in crops.why_size


def boxes(folder: Path, side: int, pixel_size: float | None) -> CellTable:
    """Table with two boxes of this side in an image of noise."""
    noise = np.random.default_rng(0).integers(0, 99, (1, 1, 1, 600, 900)).astype(np.uint8)
    size = PixelSize(None, pixel_size, pixel_size)
    write_ome_tiff(folder / "image.ome.tif", noise, ["DNA"], size)
    return read_cell_table(
        write_table(
            folder, image="image.ome.tif", cls=["a", "b"], xmin=[10, 400], ymin=[10, 20],
            xmax=[10 + side, 400 + side], ymax=[20, 20 + side],
        ),
        to_train=False,
    )  # fmt: skip


@pytest.mark.fault(
    "Cells larger than the largest crop",
    "Shown whole: at a coarser pixel size, in a larger crop, or refused; never cut silently",
)
@pytest.mark.parametrize(
    ("side", "pixel_size", "crop", "coarser"),
    [(26, 0.5, 40, 1), (80, 0.5, 120, 1), (160, None, 240, 1), (160, 0.5, 128, 240 / 128)],
)
def test_crops_around_boxes_show_the_cell_whole(
    tmp_path: Path, side: int, pixel_size: float | None, crop: int, coarser: float
) -> None:
    crops = read_crops(boxes(tmp_path, side, pixel_size), CropSettings())
    assert crops.crop_size == (crop, crop)
    if pixel_size:
        assert crops.pixel_size_um == pytest.approx((pixel_size * coarser,) * 2)


def test_cells_too_large_for_a_network_are_refused_with_the_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--crop-size 600"):
        read_crops(boxes(tmp_path, 400, None), CropSettings())


def test_crops_around_labels_show_the_cell_whole(folder: Path) -> None:
    labels = np.zeros((1, 1, 1, 50, 60), np.uint16)
    labels[..., 2:44, 3:20], labels[..., 5:9, 30:34] = 1, 9
    write_ome_tiff(folder / "large.ome.tif", labels, ("cells",))
    path = write_table(
        folder, image="field.ome.tif", labels="large.ome.tif", label=[1, 9], cls=["a", "b"]
    )
    crops = read_crops(read_cell_table(path, to_train=False), CropSettings(field="max"))
    # 9 of 10 of the sides 42 and 4: 38.2 pixels.
    assert crops.crop_size == (64, 64)
    assert "their labels" in crops.why_size


@pytest.mark.fault(
    "Centres around which the images show no common edge, or cells of unknown depth",
    "Refused; --crop-size is the way out, and 64 pixels are not taken silently",
)
@pytest.mark.parametrize(("how", "text"), [("max", "--crop-size 64"), ("volume", "16,64,64")])
def test_an_unknown_size_is_refused_with_the_option(folder: Path, how: str, text: str) -> None:
    path = write_table(
        folder, image="field.ome.tif", x=[10, 20, 30], y=[10, 20, 30], cls=list("aba")
    )
    table = read_cell_table(path, to_train=False)
    with pytest.raises(InputError, match=text):
        read_crops(table, CropSettings(field=how))


def test_ready_made_crops_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    for name, side in (("a/1", 20), ("a/2", 30), ("b/1", 20), ("b/2", 24)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(side + len(name)).integers(0, 99, (side, side))
        tifffile.imwrite(tmp_path / f"{name}.png.tif", pixels.astype(np.uint8) + ord(name[0]))
    table = read_cell_table(tmp_path, to_train=False)
    with pytest.raises(InputError, match="from 20 x 20 to 30 x 30 pixels.*--crop-size"):
        read_crops(table, CropSettings())
    assert read_crops(table, CropSettings((30, 30))).pixels.shape == (4, 1, 30, 30)


def test_images_of_unknown_and_differing_scales_are_refused(tmp_path: Path) -> None:
    image, centres = discs(12)
    for name, size in (("a", None), ("b", 0.5), ("c", 0.25)):
        write_ome_tiff(
            tmp_path / f"{name}.ome.tif", image[None, None, None], ["DNA"],
            PixelSize(None, size, size),
        )  # fmt: skip
    path = write_table(
        tmp_path, image=["a.ome.tif", "b.ome.tif", "c.ome.tif"], cls=list("aba"),
        x=centres[:3, 1], y=centres[:3, 0],
    )  # fmt: skip
    with pytest.raises(InputError, match="pixel size of a is unknown; others differ"):
        read_crops(read_cell_table(path, to_train=False), CropSettings((32, 32)))


@pytest.mark.fault(
    "Crops larger than the disk", "Refused with both figures, before anything is allocated"
)
def test_crops_that_the_disk_cannot_hold_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (1, 1, 1, 4096, 8)).astype(np.uint8)
    write_ome_tiff(tmp_path / "image.ome.tif", noise, ["DNA"], PixelSize())
    n = 300_000
    random = np.random.default_rng(0)
    columns = {"x": random.integers(0, 8, n), "y": random.integers(0, 4096, n)}
    rows = pd.DataFrame(columns).assign(image=str(tmp_path / "image.ome.tif"), cls="a", group="")
    table = CellTable(rows.assign(split="", row=range(n)), "centre", ("a",))
    with pytest.raises(InputError, match="GB are free"):
        read_crops(table, CropSettings((4096, 4096)), tmp_path / "kept")
