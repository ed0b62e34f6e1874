"""Dark cells on bright ground, and nuclei in haematoxylin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2hed
from support.batches import HERE
from support.pictures import blobs, colour_stack, nuclei, stained
from support.plain_finder import in_reading_order, other_pixels, plain_cells

from cellcam import (
    InputError,
    Request,
    Stack,
    ThresholdFinder,
    explain_field,
    find_cells,
    open_stack,
    save_model,
)
from cellcam.batch.run import run_batch
from cellcam.cells.finder import FieldView
from cellcam.cells.looks import as_one_text, from_one_text
from cellcam.stacks.blocks import Part

HEMATOXYLIN = "hematoxylin"


def absorbing(shape: tuple[int, int] = (120, 140), seed: int = 0) -> np.ndarray:
    """Grey image, uint16, of dark cells on bright ground."""
    random = np.random.default_rng(seed)
    return random.poisson(1000 - 400 * blobs(shape, 14, seed)).astype(np.uint16)


def grey(pixels: np.ndarray) -> Stack:
    return Stack.from_array(pixels, "YX", ["light"])


def count(labels: np.ndarray) -> int:
    return len(np.unique(labels)) - 1


class TestDarkCells:
    def test_are_those_of_the_negative(self) -> None:
        dark = absorbing()
        found = find_cells(grey(dark), diameter=12, look_for="dark")
        expected = find_cells(grey(5000 - dark), diameter=12)
        assert count(found) > 5
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(found, plain_cells(-dark.astype(np.float32), 12))

    def test_lie_below_a_threshold(self) -> None:
        dark = np.full((40, 40), 200, np.uint8)
        dark[10:20, 10:20] = 100
        labels = find_cells(grey(dark), diameter=10, look_for="dark", threshold=150)
        assert labels[15, 15] == 1
        assert count(labels) == 1
        assert not find_cells(grey(dark), diameter=10, look_for="dark", threshold=90).any()

    def test_their_threshold_is_an_intensity(self) -> None:
        finder = ThresholdFinder("light", diameter=12, look_for="dark")
        view = FieldView.whole(grey(absorbing()))
        assert 500 < finder.measure(view).threshold < 1000

    def test_are_not_found_in_noise(self) -> None:
        noise = np.random.default_rng(0).poisson(1000, (128, 128)).astype(np.float32)
        assert not find_cells(grey(noise), diameter=20, look_for="dark").any()

    def test_stay_out_of_pixels_without_data(self) -> None:
        dark = absorbing().astype(np.float32)
        whole = find_cells(grey(dark), diameter=12, look_for="dark", threshold=850)
        dark[:, :60] = np.nan
        found = find_cells(grey(dark), diameter=12, look_for="dark", threshold=850)
        assert not found[:, :60].any()
        np.testing.assert_array_equal(found[:, 80:] > 0, whole[:, 80:] > 0)

    def test_of_a_grey_image_are_never_guessed(self) -> None:
        """Fluorescence of a full dish looks the same."""
        stack = grey(absorbing())
        np.testing.assert_array_equal(
            find_cells(stack, diameter=12), find_cells(stack, diameter=12, look_for="bright")
        )


class TestWhiteLight:
    def test_is_recognised_and_said(self) -> None:
        stack = colour_stack(stained())
        finder = ThresholdFinder(diameter=12).for_stack(stack, None, None)
        assert finder.channels == ("red", "green", "blue")
        measured = finder.measure(FieldView.whole(stack))
        assert measured.look == "dark"
        assert "--look-for bright" in measured.notes[0]
        labels = find_cells(stack, diameter=12)
        assert count(labels) > 3
        np.testing.assert_array_equal(labels, find_cells(stack, diameter=12, look_for="dark"))

    def test_is_seen_in_one_of_its_colours(self) -> None:
        stack = colour_stack(stained())
        green = grey(stained()[..., 1])
        np.testing.assert_array_equal(
            find_cells(stack, "green", diameter=12),
            find_cells(green, diameter=12, look_for="dark"),
        )

    @pytest.mark.parametrize("offset", [0, 80])
    def test_is_not_seen_in_fluorescence(self, offset: int) -> None:
        """Whatever the camera adds to all pixels."""
        random = np.random.default_rng(0)
        signal = 120 * blobs((120, 140), 14, 0)[..., None] ** 4 * [1, 0.5, 0.2]
        picture = (random.poisson(10 + signal) + offset).astype(np.uint8)
        finder = ThresholdFinder(diameter=12)
        measured = finder.measure(FieldView.whole(colour_stack(picture)))
        assert (measured.look, measured.notes) == ("bright", ())

    @pytest.mark.parametrize(
        ("file", "look"),
        [
            ("fov_boxes/bccd/BloodImage_00042.jpg", "dark"),
            ("fov_boxes/bccd/BloodImage_00261.jpg", "dark"),
            ("tiff_zoo/galaxy/he1_axes_cyx.tiff", "dark"),
            ("fov_boxes/mif_lung/composite.tif", "bright"),
            ("tiff_zoo/neubias/xyc_16bit__hela-cells.tif", "bright"),
            ("tiff_zoo/cellprofiler/NikonTIF.tif", "bright"),
        ],
    )
    def test_of_real_pictures(self, shared_data: Path, file: str, look: str) -> None:
        stack = open_stack(shared_data / file)
        assert stack.is_colour
        view = FieldView.whole(stack).with_pixels(stack.channels)
        assert ThresholdFinder(diameter=20).measure(view).look == look

    def test_the_note_reaches_the_result(self, make_model) -> None:
        stack = colour_stack(stained())
        model = make_model(channels=("green", "red"), pixel_size_um=None)
        request = Request(finder=ThresholdFinder(diameter=12))
        result = explain_field(stack, model, request=request)
        assert any("dark on bright ground" in note for note in result.notes)


class TestHaematoxylin:
    def test_finds_nuclei_and_not_their_tissue(self) -> None:
        picture = stained()
        stack = colour_stack(picture)
        found = find_cells(stack, diameter=12, look_for=HEMATOXYLIN)
        is_nucleus = nuclei(picture.shape[:2])
        overlap = ((found > 0) & is_nucleus).sum() / ((found > 0) | is_nucleus).sum()
        darkest = find_cells(stack, diameter=12) > 0
        by_darkness = (darkest & is_nucleus).sum() / (darkest | is_nucleus).sum()
        assert overlap > 0.7
        assert overlap > by_darkness + 0.2

    def test_is_that_of_scikit_image(self) -> None:
        picture = stained(seed=3)
        stains = rgb2hed(picture)[..., 0].astype(np.float32)
        found = find_cells(colour_stack(picture), diameter=12, look_for=HEMATOXYLIN)
        expected = plain_cells(stains, 12)
        assert count(expected) > 5
        assert other_pixels(found, expected) < 1e-3 * found.size

    def test_an_optical_density_can_be_its_threshold(self) -> None:
        picture = stained()
        smooth = ndimage.gaussian_filter(6 * rgb2hed(picture)[..., 0], 1)
        found = find_cells(colour_stack(picture), diameter=12, look_for=HEMATOXYLIN, threshold=0.3)
        assert (smooth[found > 0] > 0.3).mean() > 0.98

    def test_does_not_mind_black_pixels(self) -> None:
        picture = stained()
        picture[20:24, 20:24] = 0
        assert count(find_cells(colour_stack(picture), diameter=12, look_for=HEMATOXYLIN)) > 3

    def test_needs_three_colours(self) -> None:
        with pytest.raises(InputError, match=r"--find-channel red,green,blue"):
            find_cells(grey(absorbing()), look_for=HEMATOXYLIN)
        with pytest.raises(InputError, match=r"looks at green"):
            ThresholdFinder("green", look_for=HEMATOXYLIN).for_stack(
                colour_stack(stained()), None, None
            )

    def test_channels_of_another_name_are_named_together(self) -> None:
        picture = stained()
        named = Stack.from_array(np.moveaxis(picture, -1, 0), "CYX", ["r", "g, first", "b"])
        finder = ThresholdFinder('r,"g, first",b', diameter=12, look_for=HEMATOXYLIN)
        finder = finder.for_stack(named, None, None)
        assert finder.channels == ("r", "g, first", "b")
        view = FieldView.whole(named)
        np.testing.assert_array_equal(
            finder.label(view, finder.measure(view)),
            find_cells(colour_stack(picture), diameter=12, look_for=HEMATOXYLIN),
        )

    def test_a_model_that_names_one_colour_does_not_matter(self) -> None:
        stack = colour_stack(stained())
        finder = ThresholdFinder(look_for=HEMATOXYLIN).for_stack(stack, "green", None)
        assert finder.channels == ("red", "green", "blue")


@pytest.mark.parametrize("names", [("DNA",), (" DNA",), ("a,b",), ('a"b',), ("r", "g, 2", "b")])
def test_channels_in_one_text(names: tuple[str, ...]) -> None:
    assert from_one_text(as_one_text(names)) == names


@pytest.mark.parametrize("look_for", ["auto", "dark", "hematoxylin"])
def test_a_block_holds_the_cells_of_the_field(look_for: str) -> None:
    picture = stained((300, 300), seed=2, eosin=0)
    stack = colour_stack(picture)
    finder = ThresholdFinder(diameter=12, look_for=look_for)
    view = FieldView.whole(stack)
    scale = finder.measure(view)
    whole, border = finder.label(view, scale), finder.border(scale)
    for y, x in [(0, 0), (110, 110), (120, 40)]:
        part = Part((y, x), (y + 150, x + 150), picture.shape[:2])
        cut = finder.label(view.cut(part), scale)
        inner = tuple(slice(border if low else 0, -border) for low in (y, x))
        ours, theirs = cut[inner], whole[part.slices][inner]
        assert theirs.any()
        np.testing.assert_array_equal(ours > 0, theirs > 0)
        np.testing.assert_array_equal(in_reading_order(ours), in_reading_order(theirs))


def test_a_batch_in_blocks_finds_the_cells_of_the_whole_picture(
    make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = stained((240, 230), seed=5, eosin=0)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    save_model(make_model(channels=("green", "red"), pixel_size_um=None), tmp_path / "model")
    request = Request(finder=ThresholdFinder(diameter=12), explained=0)
    monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 128)
    labels = {}
    for name, most in {"whole": 2**30, "blocks": 0}.items():
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", most)
        out = tmp_path / name
        run_batch([tmp_path / "in"], tmp_path / "model", out, request, resources=HERE)
        file = next((out / "images").rglob("*labels*"))
        labels[name] = tifffile.imread(file) if file.suffix == ".tif" else open_stack(file).field()
        asked = json.loads((out / "run.json").read_text())["request"]["finder"]
        assert asked["look_for"] == "auto"
    whole, blocks = (np.squeeze(labels[name]) for name in ("whole", "blocks"))
    expected = find_cells(colour_stack(picture), diameter=12)
    np.testing.assert_array_equal(in_reading_order(whole), in_reading_order(expected))
    np.testing.assert_array_equal(in_reading_order(blocks), in_reading_order(expected))
