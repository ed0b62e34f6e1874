"""Whole images are compared with the training images, each of these with the others' cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.fitting.trainer import train_model
from cellcam_training.fitting.training_cells import (
    measure_training_cells,
    measured_cells,
    measured_rows,
)
from cellcam_training.fitting.training_images import with_training_images
from cellcam_training.tables.cell_table import read_cell_table
from support.cell_tables import QUICK
from support.exposed_images import CROP, exposed_crops, exposed_stack, exposed_table

from cellcam import Request, load_model
from cellcam.cells.user_labels import UserLabels
from cellcam.models.bundle import read_spec
from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import TrainingCells
from cellcam.models.unlike import measures_of
from cellcam.pipeline.explain_stack import explain_stack

NO_MAPS = Request(explained=0)
RECIPE: Recipe = QUICK.model_copy(update={"epochs": 1, "channels": ("DNA",), "crop_size": CROP})


def known(n_images: int) -> tuple[TrainingCells, Normalisation]:
    crops, images = exposed_crops(range(n_images))
    normalisation = Normalisation.measured(crops)
    measures, rows = measured_cells(crops, normalisation, np.arange(len(crops)))
    cells = measure_training_cells(measures, images[rows])
    return with_training_images(cells, normalisation, crops, images, images), normalisation


@pytest.fixture(scope="module")
def of_twenty() -> tuple[TrainingCells, Normalisation]:
    return known(20)


@pytest.fixture(scope="module")
def of_forty() -> tuple[TrainingCells, Normalisation]:
    return known(40)


def warned(known: tuple[TrainingCells, Normalisation], seeds: range, factor: float = 1.0) -> float:
    """Share of images that are unlike the training images."""
    cells, normalisation = known
    assert cells.images is not None
    crops, images = exposed_crops(seeds, factor)
    values = cells.unlike(measures_of(crops, normalisation))
    medians = [float(np.median(values[images == i])) for i in np.unique(images)]
    return float(np.mean([cells.images.is_unlike(value) for value in medians]))


def test_each_training_image_is_compared_with_the_cells_of_the_others(
    of_twenty: tuple[TrainingCells, Normalisation],
) -> None:
    cells, normalisation = of_twenty
    crops, images = exposed_crops(range(20))
    measures = measures_of(crops, normalisation)
    of_reference = np.repeat(images, 2)  # each cell, and the cell moved by some pixels
    np.testing.assert_array_equal(measured_rows(400), np.repeat(np.arange(400), 2))
    values = []
    for image in range(20):
        others = measure_training_cells(
            cells.reference[of_reference != image], of_reference[of_reference != image]
        )
        far, sparse = others.distances(measures[images == image])
        unlike = np.maximum(far / cells.farthest, sparse / cells.sparsest)
        values.append(sorted(unlike)[9:11])
    assert cells.images is not None
    assert cells.images.fewest_cells == 20
    expected = sorted(float(np.mean(middle)) for middle in values)
    np.testing.assert_allclose(cells.images.values, expected, rtol=1e-5)


def test_images_of_the_same_kind_are_rarely_unlike(
    of_forty: tuple[TrainingCells, Normalisation],
) -> None:
    # Of 40 training images the second largest decides: for one training set the rate follows
    # Beta(2, 39), 0.05 on average and 0.11 at most in 19 of 20 sets; 60 images scatter more.
    assert warned(of_forty, range(1000, 1060)) <= 0.2


def test_another_exposure_is_noticed_though_most_cells_do_not_show_it(
    of_forty: tuple[TrainingCells, Normalisation],
) -> None:
    cells, normalisation = of_forty
    crops, _ = exposed_crops(range(1000, 1030), 0.33)
    assert (cells.unlike(measures_of(crops, normalisation)) > 1).mean() < 0.4
    assert warned(of_forty, range(1000, 1030), 0.33) >= 0.8


def test_with_fewer_than_19_images_nothing_is_kept() -> None:
    assert known(18)[0].images is None
    kept = known(19)[0].images
    assert kept is not None
    assert len(kept.values) == 19


def test_images_with_few_cells_do_not_count(of_twenty: tuple[TrainingCells, Normalisation]) -> None:
    _, normalisation = of_twenty
    crops, images = exposed_crops(range(19))
    few = np.append(np.arange(20, 380), np.arange(4))  # of the first image 4 cells
    measures, rows = measured_cells(crops[few], normalisation, np.arange(len(few)))
    cells = measure_training_cells(measures, images[few][rows])
    args = normalisation, crops[few], images[few], images[few]
    assert with_training_images(cells, *args) is cells


def test_whole_groups_are_left_out() -> None:
    # Each group holds an image and seven copies of it: were only the image left out, its copies
    # would make its cells look known.
    crops, of_cell = exposed_crops(range(6))
    five = np.concatenate([np.flatnonzero(of_cell == i)[:5] for i in range(6)])
    copies = np.concatenate([crops[five]] * 8)
    groups, images = np.tile(of_cell[five], 8), np.repeat(np.arange(48), 5)
    normalisation = Normalisation.measured(copies)
    measures, rows = measured_cells(copies, normalisation, np.arange(len(copies)))
    cells = measure_training_cells(measures, groups[rows])

    def values(groups: np.ndarray) -> tuple[float, ...]:
        known = with_training_images(cells, normalisation, copies, groups, images).images
        assert known is not None
        return known.values

    assert np.median(values(groups)) > 10 * np.median(values(images))


@pytest.mark.fault(
    "image taken with another exposure, within what single cells differ by",
    "a note on the image, with how often it comes by mistake",
)
def test_a_model_from_a_table_of_images_warns_of_another_exposure(tmp_path: Path) -> None:
    table = read_cell_table(exposed_table(tmp_path, 20))
    trained = train_model(table, RECIPE, tmp_path / "m", "cpu")
    model = load_model(tmp_path / "m", "cpu")
    assert model.spec == trained.spec
    assert model.spec.known_cells is not None
    images = model.spec.known_cells.images
    assert images is not None
    assert len(images.values) == 20

    seen = []
    for seed, factor in [(1000 + i, factor) for i in range(5) for factor in (1.0, 0.5)]:
        stack, labels = exposed_stack(seed, factor)
        finder = UserLabels.from_array(labels)
        done = explain_stack(stack, model, tmp_path / "results", NO_MAPS, labels=finder)
        unlike = done.cells["unlike"]
        # The farthest of 21 images; where a fifth of the cells are flagged, that is said instead.
        expected = unlike.median() > max(images.values) and (unlike > 1).mean() < 0.2
        notes = [note for note in done.notes if "About 1 in 20 images" in note]
        assert len(notes) == expected
        seen.append((factor, bool(expected)))
    assert (0.5, True) in seen
    assert (1.0, False) in seen


def test_the_same_training_keeps_the_same_values(tmp_path: Path) -> None:
    table = read_cell_table(exposed_table(tmp_path, 20))
    specs = []
    for name in "ab":
        train_model(table, RECIPE, tmp_path / name, "cpu")
        specs.append(read_spec(tmp_path / name).known_cells)
    assert specs[0] is not None
    assert specs[0] == specs[1]


def test_crops_that_do_not_say_from_which_image_they_are_keep_nothing(table, tmp_path) -> None:
    recipe = QUICK.model_copy(update={"epochs": 1})
    known_cells = train_model(table, recipe, tmp_path / "m", "cpu").spec.known_cells
    assert known_cells is not None
    assert known_cells.images is None
