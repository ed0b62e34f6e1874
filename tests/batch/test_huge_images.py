"""Blocks of an image against the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from support.batches import HERE

from cellcam import CellModel, Request, ThresholdFinder, open_stack, save_model
from cellcam.batch import opening
from cellcam.batch.run import run_batch

Make = Callable[..., CellModel]
SIZE = 700


def crowded_field(seed: int = 0) -> np.ndarray:
    """Two channels in which cells touch each other, the edges and every cut."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-14:15, -14:15]
    pixels = np.full((2, SIZE + 28, SIZE + 28), 100.0)
    for cy, cx in random.integers(14, SIZE + 14, (160, 2)):
        disc = (y / random.uniform(7, 12)) ** 2 + (x / random.uniform(7, 12)) ** 2 < 1
        bright = 100 + random.uniform(100, 500) * np.array([1, 0.5]).reshape(2, 1, 1) * disc
        place = pixels[:, cy - 14 : cy + 15, cx - 14 : cx + 15]
        np.maximum(place, bright, out=place)
    return random.poisson(pixels[:, 14:-14, 14:-14]).astype(np.uint16)


def write_slide(path: Path, pixels: np.ndarray, **storage: object) -> None:
    path.parent.mkdir()
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DNA", "actin"]},
        **{f"PhysicalSize{axis}": 0.325 for axis in "XY"},
    }
    tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack", **storage)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def make() -> None:
        monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 256)
        monkeypatch.setattr("cellcam.stacks.blocks._BAND_ROWS", 192)
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)

    return make


def test_an_image_in_one_strip_is_unpacked_once_and_gives_the_cells_of_the_tiled_one(
    make_model: Make,
    in_blocks: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cellcam.batch.opening._LARGEST_PIECE", 2**18)
    unpacked: list[Path] = []
    unpack = opening._unpack
    monkeypatch.setattr(
        opening, "_unpack", lambda stack, path: (unpacked.append(path), unpack(stack, path))
    )
    save_model(make_model(finding={"channel": "DNA"}), tmp_path / "model")
    in_blocks()
    pixels, request = crowded_field(), Request(explained=0.1)
    for name, storage in {"tiles": {"tile": (128, 128)}, "strip": {"rowsperstrip": SIZE}}.items():
        write_slide(tmp_path / name / "a.ome.tif", pixels, compression="zlib", **storage)
        out = tmp_path / f"{name}-out"
        done = run_batch([tmp_path / name], tmp_path / "model", out, request, resources=HERE)
        assert done is not None
        assert done.cells > 80
    tiles, strip = (tmp_path / f"{name}-out" / "cells.parquet" for name in ("tiles", "strip"))
    assert tiles.read_bytes() == strip.read_bytes()
    assert len(unpacked) == 1
    assert not unpacked[0].exists()


@pytest.mark.parametrize("pixel_size_um", [(0.325, 0.325), (0.5, 0.5)])
@pytest.mark.parametrize("storage", [{"tile": (128, 128)}, {"rowsperstrip": 8}])
def test_blocks_give_the_cells_of_the_whole_image(
    make_model: Make,
    in_blocks: Callable[[], None],
    tmp_path: Path,
    pixel_size_um: tuple[float, float],
    storage: dict[str, object],
) -> None:
    model = make_model(pixel_size_um=pixel_size_um, finding={"channel": "DNA"})
    save_model(model, tmp_path / "model")
    write_slide(tmp_path / "in" / "a.ome.tif", crowded_field(), compression="zlib", **storage)
    request = Request(explained=0.3)
    run_batch([tmp_path / "in"], tmp_path / "model", tmp_path / "whole", request, resources=HERE)
    in_blocks()
    done = run_batch(
        [tmp_path / "in"], tmp_path / "model", tmp_path / "cut", request, resources=HERE
    )
    assert done is not None
    assert [(outcome.status, outcome.notes) for outcome in done.outcomes] == [("done", ())]
    whole, cut = (pd.read_parquet(tmp_path / out / "cells.parquet") for out in ("whole", "cut"))
    assert len(whole) > 80
    exact = ["image", "t", "z", "label", "y", "x", "bbox", "area", "edge", "class", "flags"]
    pd.testing.assert_frame_equal(whole[exact], cut[exact])
    pd.testing.assert_frame_equal(whole, cut, rtol=1e-3, atol=1e-6)
    labels, maps = (
        [
            np.asarray(open_stack(tmp_path / out / "images" / f"a.{kind}.ome.{ending}").data)
            for out, ending in (("whole", "tif"), ("cut", "zarr"))
        ]
        for kind in ("labels", "maps")
    )
    np.testing.assert_array_equal(*labels)
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-7)
    assert maps[1].any()


def test_user_labels_cut_by_blocks_keep_their_numbers(
    make_model: Make, in_blocks: Callable[[], None], tmp_path: Path
) -> None:
    save_model(make_model(), tmp_path / "model")
    write_slide(tmp_path / "in" / "a.ome.tif", crowded_field())
    labels = np.zeros((SIZE, SIZE), np.uint32)
    labels[250:262, 250:262], labels[100:180, 200:330], labels[690:, 690:] = 9, 70_000, 3
    (tmp_path / "in" / "masks").mkdir()
    tifffile.imwrite(tmp_path / "in" / "masks" / "a.tif", labels)
    in_blocks()
    run_batch(
        [tmp_path / "in"], tmp_path / "model", tmp_path / "out", Request(explained=0),
        resources=HERE,
        labels="masks/{name}.tif",
    )  # fmt: skip
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet").set_index("label")
    assert sorted(cells.index) == [3, 9, 70_000]
    assert cells.loc[70_000, ["y", "x", "area"]].tolist() == [139.5, 264.5, 80 * 130]
    assert cells.loc[70_000, "bbox"] == "100,200,180,330"


@pytest.mark.fault(
    "32 a piece of the maps of a huge image is lost", "made again, with the same pixels"
)
def test_a_result_that_was_deleted_is_made_again(
    make_model: Make, in_blocks: Callable[[], None], tmp_path: Path
) -> None:
    save_model(make_model(finding={"channel": "DNA"}), tmp_path / "model")
    write_slide(tmp_path / "in" / "a.ome.tif", crowded_field(), tile=(128, 128))
    in_blocks()
    paths = [tmp_path / "in"], tmp_path / "model", tmp_path / "out", Request(explained=0.1)
    run_batch(*paths, resources=HERE)
    maps = tmp_path / "out" / "images" / "a.maps.ome.zarr"
    before = np.asarray(open_stack(maps).data)
    next(path for path in maps.rglob("0/c/**/*") if path.is_file()).unlink()
    run_batch(*paths, resources=HERE)
    np.testing.assert_array_equal(open_stack(maps).data, before)


@pytest.mark.fault(
    "a huge mosaic with fill and NaN, in blocks", "the same cells and maps as in one piece"
)
def test_a_mosaic_in_blocks_is_the_mosaic_in_one_piece(
    make_model: Make, in_blocks: Callable[[], None], tmp_path: Path
) -> None:
    save_model(make_model(crop_size=(24, 24)), tmp_path / "model")
    pixels = crowded_field().astype(np.float32)
    pixels[:, :130], pixels[:, 300:420, 200:380], pixels[1, 500:520, 90:100] = 0, 0, np.nan
    write_slide(tmp_path / "in" / "slide.ome.tif", pixels, tile=(64, 64))
    request = Request(finder=ThresholdFinder("DNA", diameter=18))
    outcomes = []
    for name in ("whole", "blocks"):
        if name == "blocks":
            in_blocks()
        done = run_batch(
            [tmp_path / "in"], tmp_path / "model", tmp_path / name, request, resources=HERE
        )
        assert done is not None
        assert not done.failed
        outcomes.append(done.outcomes[0])
    assert outcomes[0].notes == outcomes[1].notes
    assert any("has no data" in note for note in outcomes[0].notes)
    whole, blocks = (
        pd.read_parquet(tmp_path / name / "cells.parquet") for name in ("whole", "blocks")
    )
    assert whole["flags"].str.contains("no_data").any()
    pd.testing.assert_frame_equal(whole, blocks)
    in_one_piece = open_stack(tmp_path / "whole" / "images" / "slide.maps.ome.tif")
    maps = open_stack(tmp_path / "blocks" / "images" / "slide.maps.ome.zarr")
    np.testing.assert_allclose(np.asarray(maps.data), np.asarray(in_one_piece.data), atol=1e-6)
    assert np.isfinite(np.asarray(maps.data)).all()
    assert not np.asarray(maps.data)[..., :130, :].any()


@pytest.mark.fault("labels of a huge image: one number on distant pieces", "as in one piece")
def test_rules_of_labels_hold_in_blocks(
    make_model: Make, in_blocks: Callable[[], None], tmp_path: Path
) -> None:
    save_model(make_model(crop_size=(24, 24)), tmp_path / "model")
    write_slide(tmp_path / "in" / "slide.ome.tif", crowded_field(), tile=(64, 64))
    labels = np.zeros((SIZE, SIZE), np.float32)
    for number, (y, x) in {7: (40, 40), 8: (250, 250), 2**20: (600, 600)}.items():
        labels[y : y + 12, x : x + 14] = number
    labels[650:660, 40:50] = 7
    tifffile.imwrite(tmp_path / "in" / "labels.tif", labels)
    in_blocks()
    done = run_batch(
        [tmp_path / "in"],
        tmp_path / "model",
        tmp_path / "out",
        resources=HERE,
        labels="labels.tif",
    )
    assert done is not None
    assert any("distant pieces: 7." in note for _, note in done.notes)
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet").set_index("label")
    assert cells["class"].isna().to_dict() == {7: True, 8: False, 2**20: False}
    tifffile.imwrite(tmp_path / "in" / "labels.tif", (labels > 0).astype(np.uint8))
    refused = run_batch(
        [tmp_path / "in"],
        tmp_path / "model",
        tmp_path / "masks",
        resources=HERE,
        labels="labels.tif",
    )
    assert refused is not None
    assert "yes/no mask, and too large" in refused.failed[0].reason
