from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cellcam_training.fitting.recipe import Recipe, changed_recipe, read_recipe, schedule_of
from cellcam_training.tables.crops import CropSettings

from cellcam.errors import UsageError


def test_default_yaml_lists_all_settings_with_their_defaults() -> None:
    folder = Path(__file__).parents[3] / "training" / "recipes"
    assert read_recipe(folder / "default.yaml") == Recipe()
    listed = yaml.safe_load((folder / "default.yaml").read_text("utf-8"))
    of_the_images = {"crop_size", "channels", "pixel_size_um", "finding", "note"}
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


@pytest.mark.fault(
    "A recipe with a mistake", "Refused in plain words: the setting, its value, what is allowed"
)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: -1", "epochs: -1 must be above 0."),
        ("speed: fast\nepoch: 3", "epoch: there is no such setting; did you mean epochs?"),
        ("augmentation: {smear: 1}", "augmentation.smear: there is no such setting. Settings are"),
        ("epochs: many", "epochs: 'many' is not a whole number."),
        ("epochs: yes", "epochs: True is neither a number nor text; YAML reads yes"),
        ("epochs: 2\nepochs: 3", "line 1, column 1: the setting epochs stands twice."),
        ("channels: [NO, y]", "channels.0: False is not text; put it in quotation marks."),
        ("my epochs: 3", "my epochs: there is no such setting; did you mean epochs?"),
        ("- a", "it must be a list of settings, one in a line"),
        ("a: b: c", "line 1, column 5"),
        ("crop_size: [64]", "crop_size needs 2 numbers (y, x) for field plane."),
        ("crop_size: 99999", "crop_size.0: 99999 must be at most 4096."),
        ("learning_rate: .inf", "learning_rate: inf is not a finite number."),
        ("network: resnet", "network: There is no network 'resnet'. Choose one of small_cnn"),
        ("finding: {chanel: a}", "finding.chanel: there is no such setting; did you mean channel?"),
        ("field: planes", "field: 'planes' must be 'plane', 'max', 'mean' or 'volume'."),
    ],
)
def test_mistakes_are_said_in_plain_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_recipe(tmp_path / "r.yaml")
    assert message in str(error.value)
    assert "pydantic" not in str(error.value)


def test_one_number_is_the_length_of_all_sides(tmp_path: Path) -> None:
    assert changed_recipe(Recipe(), crop_size=40, epochs=None).crop_size == (40, 40)
    assert changed_recipe(Recipe(field="volume"), crop_size=40).crop_size == (40, 40, 40)
    with pytest.raises(UsageError, match="2 numbers"):
        changed_recipe(Recipe(), crop_size=(8, 40, 40))
