from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cellcam_training.fitting.recipe import Recipe, read_recipe, schedule_of
from cellcam_training.tables.crops import CropSettings

from cellcam.errors import UsageError


def test_default_yaml_lists_all_settings_with_their_defaults() -> None:
    folder = Path(__file__).parents[3] / "training" / "recipes"
    assert read_recipe(folder / "default.yaml") == Recipe()
    listed = yaml.safe_load((folder / "default.yaml").read_text("utf-8"))
    of_the_images = {"crop_size", "channels", "pixel_size_um", "finding"}
    assert set(listed) | of_the_images == set(Recipe.model_fields)


@pytest.mark.parametrize(
    "text", ["epochs: -1", "speed: fast", "augmentation: {smear: 1}", "[", "epochs: many"]
)
def test_an_invalid_recipe_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match="r.yaml"):
        read_recipe(tmp_path / "r.yaml")


def test_fewer_cells_get_more_epochs_and_smaller_batches() -> None:
    few, many = schedule_of(Recipe(), 160), schedule_of(Recipe(), 100_000)
    assert few.epochs > schedule_of(Recipe(), 2000).epochs > many.epochs
    assert few.batch_size < many.batch_size
    chosen = Recipe(epochs=7, batch_size=9, patience=2, label_smoothing=0.1)
    assert schedule_of(chosen, 160) == (7, 2, 9, 0.1)
    assert (few.label_smoothing, many.label_smoothing) == (0, 0.05)


def test_a_recipe_says_how_crops_are_cut() -> None:
    recipe = Recipe(crop_size=(9, 8), channels=("a", "b"), pixel_size_um=(0.5, 0.5), field="mean")
    assert recipe.crop_settings() == CropSettings((9, 8), ("a", "b"), (0.5, 0.5), "mean")
