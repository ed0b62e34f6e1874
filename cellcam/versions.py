"""Versions of CellCam and of the packages that its results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

__version__ = "0.1.0"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each package, or ``"not installed"``."""
    # Imported here: `import cellcam` reads the version number above.
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


# Other versions of these can give other results.
_COMPUTING = ("numpy", "scipy", "scikit-image", "tifffile", "imagecodecs", "zarr", "torch", "monai")


@lru_cache
def software_version(engine: str = "torch") -> str:
    """Code version and the packages that compute: all software that results depend on.

    With OpenVINO as the engine of calls, that too. What stands after a plus sign, such as the CUDA
    that torch was built for, is left out.
    """
    more = ("openvino",) if engine == "openvino" else ()
    packages = package_versions((*_COMPUTING, *more)).items()
    return ", ".join(
        [f"CellCam {code_version()}", *(f"{n} {v.partition('+')[0]}" for n, v in packages)]
    )


@lru_cache(1)
def code_version() -> str:
    """Version number and a hash of every line of the package: other code is other results."""
    lines = sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        lines.update(path.read_bytes())
    return f"{__version__}+{lines.hexdigest()[:12]}"
