"""Fuzz the opening of TIFF files and of OME-XML, guided by coverage.

Every input ends with an image, or with an `InputError`; anything else (another exception, more than
a few seconds, more memory than a small image needs) is a finding. Needs atheris, which is no
dependency of CellCam: install it into an environment of its own and let it see CellCam's packages.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris
    PYTHONPATH=.:SITE_PACKAGES /tmp/fuzz/bin/python benchmarks/fuzz/tiff.py tiff CORPUS \
        -max_total_time=3600 -rss_limit_mb=2048 -timeout=20

``tiff`` changes bytes of whole files; ``ome`` changes the OME-XML of a file of four planes. CORPUS
is a folder, filled with seeds when it is empty. Findings become tests (`tests/stacks`), and the
smallest inputs stay in `tests/stacks/fuzzed`.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from itertools import product
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["cellcam.stacks", "tifffile"]):
    import tifffile

    from cellcam.errors import InputError
    from cellcam.stacks.opening import open_stack

_LARGEST_READ = 2**24
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def try_to_open(path: Path) -> None:
    """Open an image in every way and read a corner of it; only `InputError` is expected."""
    for tolerate, axes in product((False, True), (None, "TYX")):
        try:
            stack = open_stack(path, axes=axes, tolerate_missing=tolerate)
            pixels = np.asarray(stack.data[0, 0, 0, :64, :64])
        except InputError:
            continue
        assert pixels.shape == tuple(min(64, n) for n in stack.data.shape[-2:])


def fuzz_tiff(content: bytes) -> None:
    """The input is a file."""
    path = FOLDER / "a.tif"
    path.write_bytes(content)
    try_to_open(path)


def fuzz_ome(content: bytes) -> None:
    """The input is the OME-XML of a file."""
    path = FOLDER / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        for i in range(4):
            description = content.replace(b"\0", b"") + b"</OME>" if i == 0 else None
            tif.write(np.full((8, 9), i, np.uint8), description=description, metadata=None)
    try_to_open(path)


def seeds(kind: str) -> list[bytes]:
    """Small honest inputs, one of each flavour."""
    path = FOLDER / "seed.tif"
    image = np.arange(2 * 3 * 16 * 16, dtype=np.uint16).reshape(2, 3, 16, 16)
    flavours: list[dict[str, object]] = [
        {"ome": True, "metadata": {"axes": "TCYX"}},
        {"imagej": True, "metadata": {"axes": "TCYX", "unit": "um", "yunit": "nm"}},
        {"metadata": {"axes": "TCYX"}},
        {"metadata": None},
    ]
    storage: list[dict[str, object]] = [{}, {"tile": (16, 16), "compression": "zlib"}]
    contents = []
    for flavour, stored, big, order in product(flavours, storage, (False, True), "<>"):
        if flavour.get("imagej") and (stored or big):
            continue
        tifffile.imwrite(
            path, image, photometric="minisblack", bigtiff=big, byteorder=order, **flavour, **stored
        )
        contents.append(path.read_bytes())
        if kind == "ome" and flavour.get("ome"):
            with tifffile.TiffFile(path) as tif:
                contents[-1] = tif.ome_metadata.removesuffix("</OME>").encode()
    return contents[:1] if kind == "ome" else contents


def main() -> None:
    """Fuzz what the first argument says, with libFuzzer's options behind it."""
    kind, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for i, content in enumerate(seeds(kind)):
            (corpus / f"seed{i}").write_bytes(content)
    warnings.simplefilter("ignore")
    target = {"tiff": fuzz_tiff, "ome": fuzz_ome}[kind]
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
