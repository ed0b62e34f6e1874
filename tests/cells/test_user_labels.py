from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, integer_dtypes, unsigned_integer_dtypes

from cellcam import InputError, Stack
from cellcam.cells.finder import FieldView
from cellcam.cells.user_labels import LabelFacts, UserLabels, check_labels
from cellcam.stacks.blocks import Part

IMAGE = Stack.from_array(np.zeros((2, 3, 6, 8)), "TZYX", ["DNA"])
FLAT = Stack.from_array(np.zeros((20, 30)), "YX", ["DNA"])


class TestRules:
    good = np.array([[0, 1], [2, 2]], np.uint16)

    def test_they_keep_their_numbers(self) -> None:
        checked = check_labels(self.good * 300, (2, 2))
        np.testing.assert_array_equal(checked, self.good.astype(int) * 300)

    def test_axes_of_length_one_are_dropped(self) -> None:
        assert check_labels(self.good[None, None], (2, 2)).shape == (2, 2)

    @pytest.mark.fault("labels stored as floating point", "whole numbers are labels everywhere")
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_whole_numbers_may_be_floating_point(self, dtype: type[np.floating]) -> None:
        np.testing.assert_array_equal(check_labels(self.good.astype(dtype), (2, 2)), self.good)

    @pytest.mark.fault("no label image: fractions, NaN, negative, too large", "refused, with why")
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (good + 0.5, r"fractions, such as 0.5 at \(0, 0\).*labelled again"),
            (np.where(good, good.astype(float), np.nan), "NaN or infinity"),
            (np.where(good, good.astype(float), np.inf), "NaN or infinity"),
            (good.astype(complex), "whole numbers"),
            (good[:1], r"shape \(1, 2\), the field \(2, 2\)"),
            (-good.astype(int), "number -2; labels lie between 0"),
            (good.astype(np.int64) * 2**30, "number 2147483648; .* Number the cells again"),
            (good.astype(np.float64) * 2**60, "too large"),
        ],
    )
    def test_what_is_no_label_image_is_refused(self, labels: np.ndarray, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_labels(labels, (2, 2))

    @given(
        arrays(
            st.one_of(integer_dtypes(), unsigned_integer_dtypes()),
            array_shapes(min_dims=2, max_dims=3, max_side=5),
            elements={"min_value": 0, "max_value": 127},
        ),
        st.sampled_from([1, 1000, (2**31 - 1) // 127]),
    )
    def test_any_type_and_any_numbers_are_kept(self, labels: np.ndarray, factor: int) -> None:
        expected = labels.astype(np.int64) * factor
        np.testing.assert_array_equal(check_labels(expected, labels.shape), expected)
        np.testing.assert_array_equal(check_labels(labels, labels.shape), labels)


class TestMasks:
    discs = np.zeros((20, 30), np.uint8)
    discs[2:8, 3:9], discs[10:15, 20:28] = 255, 255

    @pytest.mark.fault("a mask of 0 and 255 as label image", "each piece is a cell; it is said")
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.int64])
    def test_each_connected_piece_is_a_cell(self, dtype: type) -> None:
        finder = UserLabels.from_array(self.discs.astype(dtype)).for_stack(FLAT, None, None)
        labels = finder.label(FieldView.whole(FLAT), None)
        assert (labels[3, 4], labels[12, 22], labels.max()) == (1, 2, 2)
        np.testing.assert_array_equal(labels > 0, self.discs > 0)
        assert "yes/no mask: each connected piece was taken as a cell" in finder.notes[0]

    def test_one_number_in_one_piece_is_a_label(self) -> None:
        finder = UserLabels.from_array(np.where(np.arange(30) > 20, self.discs, 0))
        assert finder.label(FieldView.whole(FLAT), None).max() == 255
        assert finder.notes == ()

    def test_a_cell_that_moves_through_a_movie_is_no_mask(self) -> None:
        labels = np.zeros((2, 6, 8), np.uint8)
        labels[0, :2, :2], labels[1, 3:5, 5:] = 1, 1
        finder = UserLabels(Stack.from_array(labels, "TYX"))
        assert not finder.is_mask

    @pytest.mark.fault("a mask is inverted", "refused, with why")
    def test_an_inverted_mask_is_refused(self) -> None:
        finder = UserLabels.from_array(255 - self.discs)
        with pytest.raises(InputError, match=r"inverted"):
            finder.label(FieldView.whole(FLAT), finder.measure(FieldView.whole(FLAT)))

    def test_a_mask_cannot_be_cut_into_blocks(self) -> None:
        finder = UserLabels.from_array(self.discs)
        assert not finder.is_local
        with pytest.raises(InputError, match="too large.*Analyze Particles"):
            finder.label(FieldView.whole(FLAT).cut(Part((0, 0), (9, 9), (20, 30))), None)

    @pytest.mark.fault("a mask whose background is 1", "refused, with why")
    def test_two_numbers_without_background_are_refused(self) -> None:
        finder = UserLabels.from_array(1 + (self.discs > 0).astype(np.uint8))
        with pytest.raises(InputError, match=r"numbers 1 and 2 and no background"):
            finder.measure(FieldView.whole(FLAT))


class TestPieces:
    def labels(self) -> np.ndarray:
        labels = np.zeros((20, 30), np.int32)
        labels[2:5, 2:5], labels[15:18, 25:28], labels[8:11, 10:14] = 4, 4, 9
        return labels

    def test_labels_on_distant_pieces_are_known_and_said(self) -> None:
        facts = UserLabels.from_array(self.labels()).measure(FieldView.whole(FLAT))
        assert facts == LabelFacts((4,), 4, 2)
        assert "lie on several distant pieces: 4." in facts.notes[0]
        assert LabelFacts().notes == ()

    @pytest.mark.fault("classes of pixels as label image", "no call, and it is said")
    def test_classes_of_pixels_are_no_cells(self) -> None:
        labels = self.labels()
        labels[labels == 9] = 0
        labels[2:5, 25:28], labels[15:18, 2:5] = 7, 7
        facts = UserLabels.from_array(labels).measure(FieldView.whole(FLAT))
        assert facts.several_pieces == (4, 7)
        assert "classes of pixels, not like cells" in facts.notes[0]


class TestAsAFinder:
    def test_a_block_gets_its_part(self) -> None:
        labels = np.arange(48, dtype=np.int32).reshape(6, 8)
        finder = UserLabels.from_array(labels)
        view = FieldView.whole(IMAGE, 1, 2).cut(Part((2, 3), (5, 8), (6, 8)))
        np.testing.assert_array_equal(finder.label(view, None), labels[2:5, 3:])

    def test_planes_and_time_points_are_those_of_the_view(self) -> None:
        labels = np.zeros((2, 3, 6, 8), np.int32)
        labels[1, 2, 0, 0], labels[0, 0, 5, 5] = 7, 8
        finder = UserLabels(Stack.from_array(labels, "TZYX"))
        finder = finder.for_stack(IMAGE, None, None)
        assert finder.label(FieldView.whole(IMAGE, 1, 2), None)[0, 0] == 7
        assert finder.label(FieldView.whole(IMAGE, 1, "volume"), None).shape == (3, 6, 8)
        with pytest.raises(InputError, match="projection.*--z each"):
            finder.label(FieldView.whole(IMAGE, 1, "max"), None)

    def test_a_plane_without_cells_is_fine_and_an_image_without_cells_is_not(self) -> None:
        labels = np.zeros((3, 6, 8), np.int32)
        finder = UserLabels(Stack.from_array(labels, "ZYX"))
        with pytest.raises(InputError, match="holds no cell"):
            finder.label(FieldView.whole(IMAGE, 0, 0), None)
        labels[1, 2, 2] = 7
        finder = UserLabels(Stack.from_array(labels, "ZYX"))
        assert not finder.label(FieldView.whole(IMAGE, 0, 0), None).any()

    @pytest.mark.fault("labels of another size, or other planes", "refused, with both shapes")
    @pytest.mark.parametrize(
        ("shape", "axes", "message"),
        [
            ((4, 6, 8), "TYX", "4 time points and 1 plane, .* has 2 time points and 3 planes"),
            ((12, 16), "YX", "has 12 x 16 pixels .* has 6 x 8"),
            ((2, 3, 8, 6), "TZYX", "has 8 x 6 pixels .* has 6 x 8"),
            ((5, 6, 8), "CYX", "5 channels or colours"),
        ],
    )
    def test_labels_that_do_not_fit_are_refused(
        self, shape: tuple[int, ...], axes: str, message: str
    ) -> None:
        labels = Stack.from_array(np.ones(shape, np.int32), axes)
        with pytest.raises(InputError, match=message):
            UserLabels(labels).for_stack(IMAGE, None, None)

    @pytest.mark.fault("frames of a movie stored as planes (Fiji)", "read as frames; it is said")
    @pytest.mark.parametrize("axes", ["ZYX", "CYX"])
    def test_the_image_says_what_the_planes_of_labels_are(self, axes: str) -> None:
        movie = Stack.from_array(np.zeros((5, 6, 8)), "TYX", ["DNA"])
        labels = np.zeros((5, 6, 8), np.int32)
        labels[3, 1, 2] = 6
        finder = UserLabels(Stack.from_array(labels, axes)).for_stack(movie, None, None)
        assert finder.label(FieldView.whole(movie, 3), None)[1, 2] == 6
        assert "were taken as time points" in finder.notes[0]
        again = finder.for_stack(movie, None, None)
        assert again.notes == finder.notes

    def test_the_border_holds_the_largest_cell(self) -> None:
        labels = np.zeros((6, 8), np.int32)
        labels[1:3, 1:7] = 1
        finder = UserLabels.from_array(labels)
        assert finder.border(finder.measure(FieldView.whole(IMAGE, 0, 0))) == 6

    def test_facts_do_not_depend_on_how_labels_are_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labels = np.random.default_rng(0).integers(0, 5, (20, 30)).astype(np.int32)
        finder = UserLabels.from_array(labels)
        whole = finder.measure(FieldView.whole(FLAT))
        monkeypatch.setattr("cellcam.cells.user_labels._BAND_PIXELS", 60)
        assert replace(finder).measure(FieldView.whole(FLAT)) == whole
