"""The conda recipe asks for the packages and versions that pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# Where conda-forge has another name, in small letters.
NAMES = {"dask": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def floors(requirements: list[str]) -> dict[str, str]:
    """Lowest version of each package, by its name on conda-forge."""
    found = {}
    for text in requirements:
        name, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?\s*>=(\S+)", text).groups()
        found[NAMES.get(name.lower(), name.lower())] = version
    return found


def test_the_conda_recipe_has_the_floors_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = floors(project["dependencies"] + project["optional-dependencies"]["train"])
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text("utf-8"))
    assert floors(recipe["requirements"]["run"]) == wanted | {"python": "3.11"}
    assert project["requires-python"] == ">=3.11"


def test_the_conda_recipe_has_the_version_of_the_package() -> None:
    from cellcam import __version__

    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text("utf-8"))
    assert recipe["context"]["version"] == __version__
