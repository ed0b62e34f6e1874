from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cellcam import CellModel, InputError, Request, Stack, ThresholdFinder, explain_field
from cellcam.cells.user_labels import UserLabels
from cellcam.errors import UsageError
from cellcam.pipeline.classify_field import classify_fields
from cellcam.pipeline.find_field import find_field
from cellcam.pipeline.matching import FieldPlace, match
from cellcam.request import DEFAULT_RTOL
from cellcam.stacks.blocks import Block, Part
from cellcam.stacks.stack import PixelSize

Make = Callable[..., CellModel]


def two_labels() -> np.ndarray:
    y, x = np.mgrid[:40, :60]
    labels = np.zeros((40, 60), np.int32)
    labels[np.hypot(y - 20, x - 15) < 6] = 3
    labels[np.hypot(y - 20, x - 40) < 6] = 8
    return labels


def test_own_labels_keep_their_numbers_and_places(stack: Stack, make_model: Make) -> None:
    result = explain_field(stack, make_model(), two_labels())
    cells = result.cells
    assert cells["label"].tolist() == [3, 8]
    np.testing.assert_allclose(cells[["y", "x"]], [[20, 15], [20, 40]])
    np.testing.assert_allclose(cells[["y_um", "x_um"]], [[10, 7.5], [10, 20]])
    assert cells["area"].tolist() == [(two_labels() == n).sum() for n in (3, 8)]
    assert cells["bbox"].tolist() == ["15,10,26,21", "15,35,26,46"]
    assert not cells["edge"].any()
    probabilities = cells[["p_G1", "p_S", "p_M"]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(cells["probability"], probabilities.max(1))
    assert cells["class"].tolist() == [("G1", "S", "M")[i] for i in probabilities.argmax(1)]
    assert cells["inside"].between(0, 1).all()
    assert (cells["rim"] <= cells["inside"]).all()
    np.testing.assert_allclose(cells["inside"] + cells["outside"], 1)
    np.testing.assert_array_equal(result.labels, two_labels())


def test_shares_are_what_the_score_loses_without_a_stain(stack: Stack, make_model: Make) -> None:
    model = make_model()
    cells = explain_field(stack, model, two_labels()).cells
    # crops of 16 about (20, 15): rows 13 to 28, columns 8 to 23
    crop = np.asarray(stack.data)[0, :, 0, 13:29, 8:24][None]
    scores = model.logits(crop)[0].numpy()
    for channel, name in enumerate(("DNA", "actin")):
        without = crop.copy()
        plane = crop[0, channel]
        border = np.concatenate([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]])
        without[0, channel] = np.sort(border)[(len(border) - 1) // 2]
        lost = scores - model.logits(without)[0].numpy()
        assert cells[f"share_{name}"][0] == pytest.approx(lost[scores.argmax()], rel=1e-3)


@pytest.mark.parametrize("class_idx", [None, 1, torch.tensor([2, 0, 1])])
def test_shares_are_those_of_single_channel_paths(make_model: Make, class_idx: object) -> None:
    model = make_model()
    crops = np.random.default_rng(0).poisson(120, (3, 2, 16, 16)).astype(np.uint16)
    how = {"channels": "each", "n_steps": 1, "baselines": "background"}
    paths = model.explain(crops, class_idx, **how).channel_shares
    assert paths is not None
    shares = model.channel_shares(crops, class_idx)
    np.testing.assert_allclose(shares, paths[:, 0], rtol=1e-4, atol=1e-5)


def test_cells_are_found_where_no_labels_are_given(stack: Stack, make_model: Make) -> None:
    result = explain_field(
        stack, make_model(), request=Request(finder=ThresholdFinder("DNA", diameter_um=6))
    )
    assert len(result.cells) == 2
    assert result.maps.shape == (3, 40, 60)
    assert result.maps.dtype == np.float32


def test_a_model_of_dark_cells_finds_dark_cells(stack: Stack, make_model: Make) -> None:
    dark = dataclasses.replace(stack, data=1000 - stack.data)
    finding = {"channel": "DNA", "diameter_um": 6.0}
    model = make_model(finding={**finding, "look_for": "dark"})
    assert explain_field(dark, model).cells["y"].tolist() == pytest.approx([20, 20], abs=1)
    # Where the user names another channel, or says what the cells look like, that counts.
    own = Request(finder=ThresholdFinder("DNA", diameter_um=6, look_for="bright"))
    other = Request(finder=ThresholdFinder("actin", diameter_um=6))
    for request in (own, other):
        assert match(stack, model.spec, request).finder.look_for == request.finder.look_for


def test_the_map_on_the_field_is_the_map_of_the_crop(stack: Stack, make_model: Make) -> None:
    model = make_model()
    result = explain_field(stack, model, two_labels(), classes=["S", "M"])
    assert result.classes == ("S", "M")
    # crops of 16 about (20, 15): rows 13 to 28, columns 8 to 23
    crop = np.asarray(stack.data)[0, :, 0, 13:29, 8:24][None]
    how = {"rtol": DEFAULT_RTOL, "rtol_of": "strongest"}
    signed = model.explain(crop, [1, 2], **how).maps[0].numpy()
    assert (signed < 0).any()
    expected = np.maximum(signed, 0)  # importance is what speaks for a class
    inside = two_labels()[13:29, 8:24] == 3
    pasted = result.maps[:, 13:29, 8:24]
    np.testing.assert_allclose(pasted[:, inside], expected[:, inside], rtol=1e-4)


def test_predicted_maps_stand_in_the_plane_of_the_call(stack: Stack, make_model: Make) -> None:
    predicted = explain_field(stack, make_model(), two_labels())
    everything = explain_field(stack, make_model(), two_labels(), classes="all")
    for _, cell in predicted.cells.iterrows():
        own = two_labels() == cell["label"]
        plane = predicted.classes.index(cell["class"])
        np.testing.assert_allclose(
            predicted.maps[plane][own], everything.maps[plane][own], rtol=0.05, atol=1e-4
        )
        assert not np.delete(predicted.maps, plane, 0)[:, own].any()


def test_crops_are_taken_at_the_models_pixel_size(stack: Stack, make_model: Make) -> None:
    """At twice the pixel size a disc of radius 6 has radius 3, at the same place."""
    model = make_model(pixel_size_um=(1.0, 1.0))
    result = explain_field(stack, model, two_labels(), classes="all")
    np.testing.assert_allclose(result.cells[["y", "x"]], [[20, 15], [20, 40]])
    assert result.maps.shape == (3, 40, 60)
    same = explain_field(stack, make_model(pixel_size_um=(0.5, 0.5)), two_labels())
    assert same.maps.shape == (3, 40, 60)


def test_cells_too_small_for_a_coarser_model_are_kept(stack: Stack, make_model: Make) -> None:
    labels = two_labels()
    labels[0, 59] = 9
    result = explain_field(stack, make_model(pixel_size_um=(4.0, 4.0)), labels)
    assert result.cells["label"].tolist() == [3, 8, 9]


@pytest.mark.fault("15 one cell fills the image", "one row, flagged, with finite maps")
def test_a_cell_that_fills_the_image_is_flagged(stack: Stack, make_model: Make) -> None:
    result = explain_field(stack, make_model(), np.ones((40, 60), np.int32))
    assert result.cells["flags"].tolist() == ["larger_than_crop"]
    assert result.cells["area"].tolist() == [2400]
    assert np.isfinite(result.maps).all()


@pytest.mark.fault("17 a cell larger than the border around its block", "flagged")
def test_a_cell_that_a_block_may_cut_is_flagged(stack: Stack, make_model: Make) -> None:
    model = make_model()
    matched = match(stack, model.spec, Request(), UserLabels.from_array(two_labels()))
    core = Part((0, 0), (40, 18), (40, 60))  # its border ends inside of the first cell
    found = find_field(matched, FieldPlace(), Block(core, core.grown(1)))
    flags = classify_fields([found], model)[0].table()["flags"]
    assert flags.str.contains("larger_than_border").tolist() == [True]


@pytest.mark.fault("17 a cell larger than the crop", "flagged")
def test_doubts_are_flagged(stack: Stack, make_model: Make) -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[2:30, 20:50] = 1
    labels[0:2, 0:2] = 2
    flags = explain_field(stack, make_model(), labels).cells["flags"].tolist()
    assert "larger_than_crop" in flags[0]
    assert "edge" in flags[1]


def test_calls_below_the_models_threshold_are_flagged(stack: Stack, make_model: Make) -> None:
    cells = explain_field(stack, make_model(), two_labels()).cells
    between = cells["probability"].mean()
    flags = explain_field(stack, make_model(uncertain_below=between), two_labels()).cells["flags"]
    assert flags.str.contains("uncertain").tolist() == (cells["probability"] < between).tolist()
    assert flags.str.contains("uncertain").sum() == 1


@pytest.mark.fault("unknown pixel size, and a model that has one", "refused with the option")
def test_an_unknown_pixel_size_is_refused_where_it_matters(stack: Stack, make_model: Make) -> None:
    unknown = dataclasses.replace(stack, pixel_size_um=PixelSize())
    with pytest.raises(InputError, match="--pixel-size"):
        explain_field(unknown, make_model(pixel_size_um=(0.5, 0.5)), two_labels())


class TestChannels:
    @pytest.mark.fault(
        "10 channels of the image in another order, and more of them",
        "matched by name; the same calls",
    )
    def test_order_and_extra_channels_do_not_matter(self, stack: Stack, make_model: Make) -> None:
        pixels = np.asarray(stack.data)[0, :, 0]
        shuffled = Stack.from_array(
            np.stack([pixels[1], pixels[0] * 0, pixels[0]]), "CYX", ["actin", "other", "DNA"],
            stack.pixel_size_um,
        )  # fmt: skip
        expected = explain_field(stack, make_model(), two_labels()).maps
        result = explain_field(shuffled, make_model(), two_labels()).maps
        np.testing.assert_allclose(result, expected)

    @pytest.mark.fault(
        "9 an image without a channel of the model", "refused; both lists of names are given"
    )
    def test_missing_channels_are_named(self, stack: Stack, make_model: Make) -> None:
        with pytest.raises(
            InputError, match="wants the channels DNA, GFP; two_discs has DNA, actin"
        ):
            explain_field(stack, make_model(channels=("DNA", "GFP")), two_labels())

    def test_the_user_can_say_which_is_which(self, stack: Stack, make_model: Make) -> None:
        model = make_model(channels=("DNA", "phalloidin"))
        explain_field(
            stack, model, two_labels(), request=Request(channel_map={"phalloidin": "actin"})
        )

    def test_a_single_unnamed_channel_fits(self, make_model: Make) -> None:
        model = make_model(channels=("H2B",), normalisation={"offset": [0], "scale": [1]})
        single = Stack.from_array(np.ones((40, 60), np.uint8), "YX")
        assert len(explain_field(single, model, two_labels()).cells) == 2
        named = Stack.from_array(np.ones((1, 40, 60), np.uint8), "CYX", ["GFP"])
        with pytest.raises(InputError, match="--map"):
            explain_field(named, model, two_labels())


class TestPlanesAndVolumes:
    def deep(self, stack: Stack) -> Stack:
        plane = np.asarray(stack.data)[0, :, 0]
        pixels = np.stack([plane // 2, plane, plane // 3, plane // 3], axis=1)
        return Stack.from_array(pixels, "CZYX", stack.channels, PixelSize(1.0, 0.5, 0.5), "deep")

    def test_a_model_of_projections_sees_projections(self, stack: Stack, make_model: Make) -> None:
        deep = explain_field(self.deep(stack), make_model(field="max"), two_labels())
        flat = explain_field(stack, make_model(), two_labels())
        np.testing.assert_allclose(deep.maps, flat.maps)
        assert set(deep.cells["z"]) == {"max"}

    def test_a_model_of_planes_asks_for_one(self, stack: Stack, make_model: Make) -> None:
        with pytest.raises(InputError, match="has 4 planes"):
            explain_field(self.deep(stack), make_model(), two_labels())
        result = explain_field(self.deep(stack), make_model(), two_labels(), Request(z=1))
        np.testing.assert_allclose(
            result.maps, explain_field(stack, make_model(), two_labels()).maps
        )

    def test_a_model_of_volumes_gives_maps_of_volumes(self, stack: Stack, make_model: Make) -> None:
        model = make_model(spatial_dims=3, crop_size=(4, 16, 16), field="volume")
        labels = np.stack([two_labels()] * 4)
        result = explain_field(self.deep(stack), model, labels)
        assert result.maps.shape == (3, 4, 40, 60)
        assert result.cells["bbox"][0] == "0,15,10,4,26,21"
        assert (result.maps > 0).any()


@pytest.mark.parametrize(
    ("classes", "message"),
    [("best", "use 'predicted', 'all'"), (["G3"], "G1, S, M"), ([], "classes is empty")],
)
def test_unknown_classes_are_refused(
    stack: Stack, make_model: Make, classes: str | list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        explain_field(stack, make_model(), two_labels(), classes=classes)


@pytest.mark.fault("14 a field without cells", "an empty table with all columns")
def test_a_field_without_cells_gives_an_empty_table(make_model: Make) -> None:
    random = np.random.default_rng(0)
    empty = Stack.from_array(
        random.poisson(100, (2, 40, 60)).astype(np.uint16), "CYX", ["DNA", "actin"]
    )
    result = explain_field(empty, make_model(), request=Request(finder=ThresholdFinder("DNA")))
    assert len(result.cells) == 0
    assert "p_G1" in result.cells
    assert not result.maps.any()


def test_progress_is_reported(stack: Stack, make_model: Make) -> None:
    seen: list[tuple[object, ...]] = []
    explain_field(stack, make_model(), two_labels(), progress=lambda *now: seen.append(now))
    assert seen[:2] == [(0, 0, "finding cells"), (0, 0, "classifying 2 cells")]
    assert seen[2:] == sorted(seen[2:])  # before each pass: cells done only grow
    assert set(seen[2:]) == {(0, 2), (2, 2)}
