"""The manifest, and no heavy import when napari starts."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import napari_cellcam
import pytest
import yaml
from napari._app_model.constants import MenuId
from support.window import BATCH_TITLE, CLASSIFY_TITLE

from cellcam.stacks.formats import FORMATS

pytestmark = pytest.mark.gui
MANIFEST = Path(napari_cellcam.__file__).parent / "napari.yaml"


def test_every_command_of_the_manifest_exists() -> None:
    commands = yaml.safe_load(MANIFEST.read_text("utf-8"))["contributions"]["commands"]
    assert commands
    for command in commands:
        module, name = command["python_name"].split(":")
        assert callable(getattr(import_module(module), name))


def test_the_manifest_names_the_endings_of_every_format_that_napari_opens_badly() -> None:
    """Pictures are left to napari itself; folders are not accepted."""
    reader, _ = yaml.safe_load(MANIFEST.read_text("utf-8"))["contributions"]["readers"]
    endings = [
        ending
        for known in FORMATS
        if known.name != "picture" and not known.is_folder
        for ending in known.endings
    ]
    expected = {f"*{variant}" for e in endings for variant in (e, e.upper())}
    assert set(reader["filename_patterns"]) == expected


def test_every_menu_of_the_manifest_exists_in_napari() -> None:
    menus = yaml.safe_load(MANIFEST.read_text("utf-8"))["contributions"]["menus"]
    known = {menu.value for menu in MenuId.contributables()}
    assert set(menus) <= known


def test_npe2_accepts_the_manifest() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "--imports", str(MANIFEST)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_reader_and_samples_import_no_torch() -> None:
    modules = "napari_cellcam.files.reader, napari_cellcam.files.samples"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("title", [CLASSIFY_TITLE, BATCH_TITLE])
def test_opening_a_dock_widget_imports_no_torch(title: str) -> None:
    code = f"""
import sys, napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("cellcam", "{title}")
print([name for name in ("torch", "monai", "skimage.filters") if name in sys.modules])
viewer.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
