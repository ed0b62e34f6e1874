"""TIFF files as tifffile opens them, after what could harm this process has been refused."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cellcam.errors import InputError
from cellcam.stacks.ome_images import OmeImages, own_images

if TYPE_CHECKING:
    from tifffile import TiffFile

_MOST_PAGES = 2**22
_MOST_TAGS = 2**16  # of a page: their numbers have two bytes; a damaged BigTIFF states any count
# Width, length, bits, compression, samples, predictor, tile width and length, sample format.
_LAYOUT_TAGS = (256, 257, 258, 259, 277, 317, 322, 323, 339)
# Complaints about planes that are not there, which `missing_pieces` finds by itself.
_ABOUT_MISSING = re.compile(
    r"Missing data are zeroed|failed to read \d+ files|contains index out of range"
)


@contextmanager
def tiff_file(path: Path) -> Iterator[tuple[TiffFile, OmeImages | None]]:
    """A TIFF file whose series are its own images, and their OME-XML.

    Raises
    ------
    InputError
        See `own_images`; and for a file whose list of pages has no end.
    """
    import tifffile

    _check_pages_end(path)
    with tifffile.TiffFile(path) as tif:
        # Other files of a set lie beside the file itself, not beside a link to it.
        ome = own_images(tif, path.resolve())
        if ome is None:
            yield tif, None
            return
    # Of Micro-Manager's files tifffile would take the positions for an axis, and join all of them.
    with tifffile.TiffFile(path, omexml=ome.xml, is_mmstack=False) as tif:
        yield tif, ome


@contextmanager
def complaints_as_errors(path: Path) -> Iterator[None]:
    """Raise what tifffile only logs: it repairs damaged files without an error."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    logger = logging.getLogger("tifffile")
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    said = [record.getMessage() for record in records]
    complaints = [text for text in said if not _ABOUT_MISSING.search(text)]
    if complaints:
        listed = "; ".join(complaints[:3])
        how = "is damaged or contradicts itself"
        if re.search(r"invalid (page offset|offset to page)", listed):
            how = "is cut off or damaged, since it refers to a page behind its end"
        raise InputError(f"{path} {how}: {listed}. Copy or export it again.")


def _check_pages_end(path: Path) -> None:
    """Follow the pages from one to the next: tifffile goes round some circles without end."""
    with open(path, "rb") as file:
        form = _Form.of(file.read(8))
        if form is None:
            return
        seen: set[int] = set()
        offset = form.first_page(file)
        while offset:
            if offset in seen or len(seen) > _MOST_PAGES:
                raise InputError(
                    f"{path} is damaged: its page {len(seen)} leads back to an earlier one. "
                    "Export it again."
                )
            seen.add(offset)
            offset = form.page_after(file, offset)


def page_layouts(path: Path) -> dict[int, tuple[bytes, ...]]:
    """What decides how pixels are decoded, of each page of a file, by the page's offset."""
    layouts = {}
    with open(path, "rb") as file:
        form = _Form.of(file.read(8))
        offset = form.first_page(file) if form else 0
        while form and offset and offset not in layouts:
            layouts[offset] = form.layout(file, offset)
            offset = form.page_after(file, offset)
    return layouts


class _Form:
    """Byte order and sizes of the numbers of a TIFF or BigTIFF."""

    def __init__(self, order: str, big: bool) -> None:
        self.count = struct.Struct(order + ("Q" if big else "H"))
        self.offset = struct.Struct(order + ("Q" if big else "I"))
        self.tag_size = 20 if big else 12
        self.start = 8 if big else 4
        self.one = self.offset.pack(1)
        self.layout_tags = {struct.pack(f"{order}H", tag) for tag in _LAYOUT_TAGS}

    @classmethod
    def of(cls, header: bytes) -> _Form | None:
        """Form that the first bytes of a file state; None if it is no TIFF."""
        order = {b"II": "<", b"MM": ">"}.get(header[:2])
        version = header[2:4] if order == "<" else header[3:1:-1]
        if order is None or version not in (b"*\0", b"+\0"):
            return None
        return cls(order, version == b"+\0")

    def first_page(self, file: BinaryIO) -> int:
        """Offset of the first page; 0 where there is none."""
        return self._number(self.offset, file, self.start)

    def page_after(self, file: BinaryIO, offset: int) -> int:
        """Offset of the page after the page at ``offset``; 0 after the last."""
        tags = self._number(self.count, file, offset)
        return self._number(self.offset, file, offset + self.count.size + tags * self.tag_size)

    def layout(self, file: BinaryIO, offset: int) -> tuple[bytes, ...]:
        """Entries of the tags in `_LAYOUT_TAGS` of the page at ``offset``."""
        tags = self._number(self.count, file, offset)
        content = file.read(min(tags, _MOST_TAGS) * self.tag_size)
        entries = [content[i : i + self.tag_size] for i in range(0, len(content), self.tag_size)]
        # An entry of several values is their place in the file.
        single = [entry for entry in entries if entry[4 : 4 + self.offset.size] == self.one]
        return tuple(entry for entry in single if entry[:2] in self.layout_tags)

    def _number(self, form: struct.Struct, file: BinaryIO, offset: int) -> int:
        file.seek(min(offset, 2**63 - 1))
        content = file.read(form.size)
        return int(form.unpack(content)[0]) if len(content) == form.size else 0
