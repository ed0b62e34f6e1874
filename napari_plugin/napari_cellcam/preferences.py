"""The user's own defaults, from napari's preferences."""

from __future__ import annotations

from typing import Any

_DEFAULTS = {"device": "auto", "model_folder": "", "preview": False}


def preference(name: str) -> Any:
    """What the user prefers; napari below 0.9 keeps no preferences of plugins."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return _DEFAULTS[name]
    return getattr(get_plugin_settings("cellcam").window, name)
