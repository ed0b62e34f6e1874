"""Checks of an installed CellCam, run by its own Python: see check_release.sh."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from npe2 import PluginManifest

import cellcam


def main(environment: Path) -> None:
    """Fail with a message unless all of the package is there, and nothing of a checkout."""
    home = Path(cellcam.__file__).resolve()
    assert home.is_relative_to(environment.resolve()), f"cellcam comes from {home}"
    assert (files("cellcam") / "py.typed").is_file(), "py.typed is missing"
    recipes = [path.name for path in (files("cellcam_training") / "recipes").iterdir()]
    assert "default.yaml" in recipes, f"recipes: {recipes}"
    commands = {command.name for command in entry_points(group="cellcam.commands")}
    assert commands >= {"train", "evaluate", "certify", "benchmark"}, f"commands: {commands}"
    manifest = PluginManifest.from_distribution("cellcam")
    manifest.validate_imports()
    kinds = ("commands", "widgets", "readers", "writers", "sample_data")
    counts = [f"{len(getattr(manifest.contributions, kind) or ())} {kind}" for kind in kinds]
    print(f"napari manifest of {manifest.name}: {', '.join(counts)}; all can be imported.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
