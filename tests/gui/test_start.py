"""What napari sees of the plugin: the manifest, and nothing heavy when it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import napari_cellcam
import pytest
import yaml
from napari._app_model.constants import MenuId

pytestmark = pytest.mark.gui
MANIFEST = Path(napari_cellcam.__file__).parent / "napari.yaml"


def test_every_menu_of_the_manifest_exists_in_napari() -> None:
    menus = yaml.safe_load(MANIFEST.read_text("utf-8"))["contributions"]["menus"]
    known = {menu.value for menu in MenuId.contributables()}
    assert set(menus) <= known


def test_npe2_finds_nothing_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "--imports", str(MANIFEST)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_opening_the_dock_imports_no_torch() -> None:
    code = """
import sys, napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("cellcam", "Classify and explain cells")
print([name for name in ("torch", "monai", "skimage.filters") if name in sys.modules])
viewer.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
