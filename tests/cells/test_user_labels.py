from __future__ import annotations

import numpy as np
import pytest

from cellcam import InputError, Stack
from cellcam.cells.finder import FieldView
from cellcam.cells.user_labels import UserLabels, check_labels
from cellcam.stacks.blocks import Part


class TestRules:
    good = np.array([[0, 1], [2, 2]], np.uint16)

    def test_they_keep_their_numbers(self) -> None:
        checked = check_labels(self.good * 300, (2, 2))
        np.testing.assert_array_equal(checked, self.good.astype(int) * 300)

    def test_axes_of_length_one_are_dropped(self) -> None:
        assert check_labels(self.good[None, None], (2, 2)).shape == (2, 2)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (good > 0, "yes/no mask"),
            (good.astype(float), "whole numbers"),
            (good[:1], "shape"),
            (-good.astype(int), "between 0"),
        ],
    )
    def test_what_is_no_label_image_is_refused(self, labels: np.ndarray, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_labels(labels, (2, 2))


class TestAsAFinder:
    image = Stack.from_array(np.zeros((2, 3, 6, 8)), "TZYX", ["DNA"])

    def test_a_block_gets_its_part(self) -> None:
        labels = np.arange(48, dtype=np.int32).reshape(6, 8)
        finder = UserLabels.from_array(labels)
        view = FieldView.whole(self.image, 1, 2).cut(Part((2, 3), (5, 8), (6, 8)))
        np.testing.assert_array_equal(finder.label(view, None), labels[2:5, 3:])

    def test_planes_and_time_points_are_those_of_the_view(self) -> None:
        labels = np.zeros((2, 3, 6, 8), np.int32)
        labels[1, 2, 0, 0] = 7
        finder = UserLabels(Stack.from_array(labels, "TZYX"))
        finder = finder.for_stack(self.image, None, None)
        assert finder.label(FieldView.whole(self.image, 1, 2), None)[0, 0] == 7
        assert finder.label(FieldView.whole(self.image, 1, "volume"), None).shape == (3, 6, 8)
        with pytest.raises(InputError, match="projection"):
            finder.label(FieldView.whole(self.image, 1, "max"), None)

    def test_a_plane_without_cells_is_fine_and_an_image_without_cells_is_not(self) -> None:
        labels = np.zeros((3, 6, 8), np.int32)
        finder = UserLabels(Stack.from_array(labels, "ZYX"))
        with pytest.raises(InputError, match="holds no cell"):
            finder.label(FieldView.whole(self.image, 0, 0), None)
        labels[1, 2, 2] = 7
        finder = UserLabels(Stack.from_array(labels, "ZYX"))
        assert not finder.label(FieldView.whole(self.image, 0, 0), None).any()

    def test_another_number_of_time_points_is_refused(self) -> None:
        labels = Stack.from_array(np.ones((4, 6, 8), np.int32), "TYX")
        with pytest.raises(InputError, match="1 or 2 time points"):
            UserLabels(labels).for_stack(self.image, None, None)

    def test_the_border_holds_the_largest_cell(self) -> None:
        labels = np.zeros((6, 8), np.int32)
        labels[1:3, 1:7] = 1
        assert UserLabels.from_array(labels).border(None) == 6
