"""Versions of CellCam's code and of the packages under it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__version__ = "0.1.0"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each package, or ``"not installed"``."""
    return {name: _installed(name) for name in names}


@lru_cache(1)
def code_version() -> str:
    """Version and hash of every line of CellCam: other code may give other results."""
    package = Path(__file__).parent
    lines = sha256()
    for path in sorted(package.rglob("*.py")):
        lines.update(path.read_bytes())
    return f"{__version__}+{lines.hexdigest()[:12]}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
