"""The user's defaults, from napari's preferences."""

from __future__ import annotations

from pathlib import Path

_DEFAULTS: dict[str, str | bool] = {
    "device": "auto",
    "model_folder": "",
    "preview": False,
    "projects": "",
}


def projects_folder() -> Path:
    """Folder of all projects: from the preferences, or ``CellCam`` in the home folder."""
    return Path(str(preference("projects") or Path.home() / "CellCam"))


def preference(name: str) -> str | bool:
    """The user's default for a setting; napari below 0.9 keeps no preferences of plugins."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return _DEFAULTS[name]
    return getattr(get_plugin_settings("cellcam").window, name)
