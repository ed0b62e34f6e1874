from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from unittest import mock

import dask.array as da
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, integer_dtypes, unsigned_integer_dtypes

from cellcam import InputError, Stack
from cellcam.cells.finder import FieldView
from cellcam.cells.pieces import pieces_of
from cellcam.cells.user_labels import LARGEST_LABEL, LabelFacts, UserLabels, _rows, check_labels
from cellcam.stacks.blocks import Part

IMAGE = Stack.from_array(np.zeros((2, 3, 6, 8)), "TZYX", ["DNA"])
FLAT = Stack.from_array(np.zeros((20, 30)), "YX", ["DNA"])


class TestRules:
    good = np.array([[0, 1], [2, 2]], np.uint16)

    def test_they_keep_their_numbers(self) -> None:
        checked = check_labels(self.good * 300, (2, 2))
        np.testing.assert_array_equal(checked, self.good.astype(int) * 300)

    @pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2)])
    def test_axes_of_length_one_are_dropped(self, shape: tuple[int, ...]) -> None:
        assert check_labels(self.good.reshape(shape), (2, 2)).shape == (2, 2)

    def test_one_plane_fits_a_volume_of_one_plane(self) -> None:
        np.testing.assert_array_equal(check_labels(self.good, (1, 2, 2)), self.good[None])

    def test_a_row_does_not_fit_a_column(self) -> None:
        with pytest.raises(InputError, match=r"shape \(1, 5\), the field \(5, 1\)"):
            check_labels(np.ones((1, 5), np.uint8), (5, 1))

    @pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
    def test_the_largest_number_of_a_cell_is_kept(self, dtype: type) -> None:
        labels: np.ndarray = np.array([[0, LARGEST_LABEL]], dtype)
        assert check_labels(labels, (1, 2)).tolist() == [[0, 2147483647]]

    @pytest.mark.fault("labels stored as floating point", "whole numbers are labels everywhere")
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_whole_numbers_may_be_floating_point(self, dtype: type[np.floating]) -> None:
        np.testing.assert_array_equal(check_labels(self.good.astype(dtype), (2, 2)), self.good)

    @pytest.mark.fault("no label image: fractions, NaN, negative, too large", "refused, with why")
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (good + 0.5, r"fractions, such as 0.5 at \(0, 0\).*labelled again"),
            (np.array([[0, 1], [2, 0.25]]), r"fractions, such as 0.25 at \(1, 1\)"),
            (np.where(good, good.astype(float), np.nan), "NaN or infinity"),
            (np.where(good, good.astype(float), np.inf), "NaN or infinity"),
            (good.astype(complex), "whole numbers"),
            (good[:1], r"shape \(1, 2\), the field \(2, 2\)"),
            (-good.astype(int), "number -2; labels lie between 0"),
            (good.astype(np.int64) * 2**30, "number 2147483648; .* Number the cells again"),
            (good.astype(np.float64) * 2**30, "number 2147483648; .* Number the cells again"),
            (good.astype(np.float32) * 2.0**100, f"number {2**101}; labels lie between 0"),
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

    def test_a_mask_has_no_facts_to_share_among_blocks(self) -> None:
        finder = UserLabels.from_array(self.discs)
        facts = finder.measure(FieldView.whole(FLAT))
        assert facts.notes == ()
        assert finder.border(facts) == 0

    def test_several_pieces_on_one_plane_make_the_stack_a_mask(self) -> None:
        planes = np.zeros((3, 20, 30), np.uint8)
        planes[1] = self.discs
        assert UserLabels.from_array(planes).is_mask

    def test_another_number_on_a_later_plane_makes_them_labels(self) -> None:
        planes = np.zeros((3, 20, 30), np.uint8)
        planes[0], planes[2, 5:9, 5:9] = self.discs, 9
        finder = UserLabels.from_array(planes)
        assert not finder.is_mask
        assert finder.is_local

    def test_a_mask_of_one_plane_does_not_fit_a_volume(self) -> None:
        mask = np.zeros((6, 8), bool)
        mask[2:4, 2:4] = True
        finder = UserLabels.from_array(mask).for_stack(IMAGE, None, None)
        with pytest.raises(InputError, match=r"shape \(6, 8\), the field \(3, 6, 8\)"):
            finder.label(FieldView.whole(IMAGE, 0, "volume"), None)

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
    @pytest.mark.parametrize("number", [1, 255])
    def test_an_inverted_mask_is_refused(self, number: int) -> None:
        finder = UserLabels.from_array(np.where(self.discs, 0, number))
        with pytest.raises(InputError, match=r"inverted"):
            finder.label(FieldView.whole(FLAT), finder.measure(FieldView.whole(FLAT)))

    def test_cells_with_holes_are_not_taken_for_a_background(self) -> None:
        inside = np.zeros((20, 30), np.uint8)
        inside[1:19, 1:29], inside[4, 4], inside[9, 20] = 1, 0, 0
        one_hole = np.ones((20, 30), np.uint8)
        one_hole[4, 4] = 0
        thin = np.zeros((20, 30), np.uint8)
        thin[10], thin[:, 15] = 1, 1
        half = np.zeros((20, 30), np.uint8)
        half[:5], half[:, 10:20] = 1, 1
        confluent = np.where(self.discs, 0, 1)
        confluent[:, 13:17] = 2
        frame = np.where(self.discs, 0, 1)
        frame[17, 17] = 2
        for labels in (inside, one_hole, thin, half, confluent, frame):
            finder = UserLabels.from_array(labels)
            assert finder.measure(FieldView.whole(FLAT)).n_cells == len(set(labels.flat)) - 1

    def test_a_mask_cannot_be_cut_into_blocks(self) -> None:
        finder = UserLabels.from_array(self.discs)
        assert not finder.is_local
        with pytest.raises(InputError, match="too large.*Analyze Particles"):
            finder.label(FieldView.whole(FLAT).cut(Part((0, 0), (9, 9), (20, 30))), None)

    @pytest.mark.fault("a mask whose background is 1", "refused, with why")
    @pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 8)])
    def test_two_numbers_without_background_are_refused(self, low: int, high: int) -> None:
        finder = UserLabels.from_array(np.where(self.discs, high, low))
        with pytest.raises(InputError, match=f"numbers {low} and {high} and no background"):
            finder.measure(FieldView.whole(FLAT))

    @pytest.mark.fault("the background of a label image has a number", "refused, with the number")
    @pytest.mark.parametrize("number", [1, 65535])
    def test_a_numbered_background_is_refused(self, number: int) -> None:
        labels = np.full((20, 30), number, np.uint16)
        labels[2:8, 3:9], labels[10:15, 20:28], labels[12:15, 2:6] = 2, 3, 4
        with pytest.raises(InputError, match=f"no background .*: the number {number} lies"):
            UserLabels.from_array(labels).measure(FieldView.whole(FLAT))

    def test_cells_that_fill_the_image_need_no_background(self) -> None:
        tissue = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((10, 10), int))
        assert UserLabels.from_array(tissue).measure(FieldView.whole(FLAT)).n_cells == 6

    def test_a_full_frame_of_a_movie_with_background_is_not_refused(self) -> None:
        movie = Stack.from_array(np.zeros((2, 20, 30)), "TYX", ["DNA"])
        frames = np.stack([np.where(self.discs, 2, 1), self.discs > 0]).astype(np.uint8)
        finder = UserLabels(Stack.from_array(frames, "TYX"))
        assert finder.measure(FieldView.whole(movie, 0)).several_pieces == (2,)


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

    def test_a_number_on_planes_far_apart_is_called_by_its_number(self) -> None:
        volume = np.zeros((9, 20, 30), np.int32)
        volume[0, 2:5, 2:5] = volume[8, 2:5, 2:5] = 4
        stack = Stack.from_array(np.zeros(volume.shape), "ZYX", ["DNA"])
        facts = UserLabels.from_array(volume).measure(FieldView.whole(stack, 0, "volume"))
        assert "distant pieces: 4." in facts.notes[0]

    @pytest.mark.parametrize(
        ("numbers", "listed"),
        [((4, 9), "4, 9."), (range(1, 6), "1, 2, 3, 4, 5."), (range(1, 7), "1, 2, 3, 4, 5, ....")],
    )
    def test_up_to_five_numbers_are_listed(self, numbers: Sequence[int], listed: str) -> None:
        (note,) = LabelFacts(tuple(numbers), n_cells=20).notes
        assert f"distant pieces: {listed} They have no call" in note

    @pytest.mark.fault("classes of pixels as label image", "no call, and it is said")
    def test_classes_of_pixels_are_no_cells(self) -> None:
        labels = self.labels()
        labels[labels == 9] = 0
        labels[2:5, 25:28], labels[15:18, 2:5] = 7, 7
        facts = UserLabels.from_array(labels).measure(FieldView.whole(FLAT))
        assert facts.several_pieces == (4, 7)
        assert "classes of pixels, not like cells" in facts.notes[0]

    @pytest.mark.fault("the image itself, or another image, as label image", "no call, and a note")
    def test_intensities_are_no_cells(self) -> None:
        image = np.random.default_rng(0).poisson(20, (60, 80)).astype(np.uint16)
        stack = Stack.from_array(np.zeros((60, 80)), "YX", ["DNA"])
        facts = UserLabels.from_array(image).measure(FieldView.whole(stack))
        assert set(facts.several_pieces) == set(image.flat) - {0}
        assert "looks like intensities, not like cells" in facts.notes[0]

    def test_some_broken_cells_among_others_are_no_intensities(self) -> None:
        labels = np.zeros((60, 80), np.uint16)
        for number in range(1, 13):
            labels[(number % 4) * 12, number * 6] = number
        labels[50:52, :4] = np.arange(1, 5)
        stack = Stack.from_array(np.zeros((60, 80)), "YX", ["DNA"])
        facts = UserLabels.from_array(labels).measure(FieldView.whole(stack))
        assert facts.several_pieces == (1, 2, 3, 4)


class TestInMemory:
    @pytest.mark.parametrize("shape", [(3, 6, 8), (1, 3, 6, 8), (3, 1, 1, 6, 8)])
    def test_axes_of_length_one_before_the_planes_are_dropped(self, shape: tuple[int, ...]) -> None:
        labels = np.arange(144, dtype=np.int32).reshape(shape)
        view = FieldView.whole(IMAGE, 1, "volume")
        found = UserLabels.from_array(labels).label(view, None)
        np.testing.assert_array_equal(found, labels.reshape(3, 6, 8))

    @pytest.mark.parametrize("shape", [(1, 6, 8), (1, 1, 6, 8)])
    def test_one_plane_serves_all_planes_and_time_points(self, shape: tuple[int, ...]) -> None:
        labels = np.arange(48, dtype=np.int32).reshape(shape)
        finder = UserLabels.from_array(labels).for_stack(IMAGE, None, None)
        for t, z in np.ndindex(2, 3):
            found = finder.label(FieldView.whole(IMAGE, t, int(z)), None)
            np.testing.assert_array_equal(found, labels.reshape(6, 8))

    def test_an_image_of_one_row_keeps_it(self) -> None:
        row = Stack.from_array(np.zeros((1, 8)), "YX", ["DNA"])
        labels = np.arange(8)[None, None]
        found = UserLabels.from_array(labels).label(FieldView.whole(row), None)
        assert found.tolist() == [list(range(8))]

    @pytest.mark.parametrize("shape", [(48,), (2, 3, 6, 8)])
    def test_a_movie_or_a_line_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"axes \(Y, X\) or \(Z, Y, X\), not the shape"):
            UserLabels.from_array(np.ones(shape, np.uint8))

    def test_what_are_no_numbers_is_refused_before_pixels_are_read(self) -> None:
        with pytest.raises(InputError, match=r"holds complex128; it needs whole numbers"):
            UserLabels.from_array(np.ones((20, 30), complex)).for_stack(FLAT, None, None)

    def test_cells_of_the_first_row_alone_are_cells(self) -> None:
        labels = np.zeros((20, 30), np.uint8)
        labels[0, 3:9] = 7
        found = UserLabels.from_array(labels).label(FieldView.whole(FLAT), None)
        np.testing.assert_array_equal(found, labels)

    def test_planes_of_labels_are_chosen_by_the_field(self) -> None:
        finder = UserLabels.from_array(np.ones((3, 20, 30), np.uint8))
        with pytest.raises(InputError, match="labels has 3 planes. Choose one"):
            finder.label(FieldView.whole(FLAT), None)


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

    @pytest.mark.parametrize("kind", [np.int32, np.bool_])
    def test_a_plane_without_cells_is_fine_and_an_image_without_cells_is_not(
        self, kind: type[np.generic]
    ) -> None:
        labels = np.zeros((3, 6, 8), kind)
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
            ((2, 2, 6, 8), "CZYX", "2 channels or colours"),
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

    @given(
        arrays(np.int32, (9, 7), elements={"min_value": 0, "max_value": 3}),
        st.tuples(st.integers(0, 8), st.integers(1, 9)),
        st.tuples(st.integers(0, 6), st.integers(1, 7)),
        st.integers(1, 10),
    )
    def test_facts_of_a_rectangle_are_those_of_labels_cut_to_it(
        self, labels: np.ndarray, y: tuple[int, int], x: tuple[int, int], rows: int
    ) -> None:
        start, stop = (y[0], x[0]), (min(sum(y), 9), min(sum(x), 7))
        # Three numbers outside the rectangle: neither a mask nor classes without background.
        labels = np.vstack([labels, [[0, 4, 5, 6, 0, 0, 0]]]).astype(np.int32)
        field = Stack.from_array(np.zeros((10, 7)), "YX", ["DNA"])
        view = FieldView.whole(field).cut(Part(start, stop, (10, 7)))
        inside = labels[tuple(map(slice, start, stop))]
        pieces = pieces_of(iter([inside]))
        assume(len(pieces.number) != 1)  # else perhaps inverted
        with mock.patch("cellcam.cells.user_labels._BAND_PIXELS", 7 * rows):
            found = UserLabels.from_array(labels).measure(view)
        several = pieces.distant()
        assert found.several_pieces == tuple(several)
        assert found.largest_extent == pieces.largest_extent(several)
        assert found.n_cells == len(set(inside.flat) - {0})


class TestBands:
    """Label images of any size are read in bands of at most 2**24 pixels of all planes."""

    @pytest.mark.parametrize(
        ("n_planes", "width", "stored", "rows"),
        [
            (1, 1000, None, 16777),
            (10, 1000, None, 1677),
            (1, 2**20, None, 16),
            (1, 2**25, None, 1),
            # Strips of one row; of 2 rows, read 512 at a time; of 100, read 500 at a time.
            (1, 2**20, (1, 2**20), 16),
            (1, 4097, (2, 4097), 7 * 512),
            (1, 4096, (100, 4096), 8 * 500),
            # No strip is decoded twice, however wide.
            (1, 2**20, (100, 2**20), 500),
        ],
    )
    def test_bands_are_whole_strips(
        self, n_planes: int, width: int, stored: tuple[int, int] | None, rows: int
    ) -> None:
        pixels = da.zeros((1, 1, n_planes, 20000, width), np.uint8)
        assert _rows(Stack(pixels, ("cells",), stored=stored)) == rows
