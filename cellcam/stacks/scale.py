"""Is a stated pixel size one of a microscope's?"""

from __future__ import annotations

from cellcam.stacks.stack import PixelSize

_UM_PER_INCH = 25400.0
# Edge of a voxel that a microscope can have, in um.
_SMALLEST, _LARGEST = 1e-3, 100.0
# Resolutions of pictures, in dots per inch, whose dots are smaller than `_LARGEST`. Bio-Formats and
# others write them as pixel sizes in um. Those that are round in um, as 508 dpi, are left out.
_PRINT_DPI = (300, 350, 360, 400, 600, 720, 1200, 1440, 2400)


def plausible(size: PixelSize) -> tuple[PixelSize, tuple[str, ...]]:
    """Pixel size without the edges that no microscope has, and a note that says so.

    An edge is implausible outside 1 nm to 100 um, or if along y and x it is that of a dot of a
    printer.
    """
    wrong = {edge for edge in size if edge is not None and not _SMALLEST <= edge <= _LARGEST}
    wrong |= {edge for edge in size[1:] if edge is not None and _is_printed(edge)}
    if not wrong:
        return size, ()
    kept = PixelSize(*(None if edge in wrong else edge for edge in size))
    printed = next((edge for edge in sorted(wrong) if _is_printed(edge) or edge > _LARGEST), None)
    listed = " and ".join(f"{edge:.4g}" for edge in sorted(wrong))
    reason = f" ({_UM_PER_INCH / printed:.0f} dpi, as for printing)" if printed else ""
    note = f"The file states a pixel size of {listed} um{reason}, which was not believed."
    return kept, (note,)


def _is_printed(edge: float) -> bool:
    return any(abs(edge * dpi / _UM_PER_INCH - 1) < 1e-3 for dpi in (72, 96, *_PRINT_DPI))
