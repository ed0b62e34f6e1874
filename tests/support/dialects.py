"""Cell tables as programs of many countries write them, by hand: no code of CellCam."""

from __future__ import annotations

from dataclasses import dataclass

BOMS = {"utf-8-sig": b"", "utf-16-le-bom": b"\xff\xfe", "utf-16-be-bom": b"\xfe\xff"}


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes
    ----------
    delimiter : between values
    encoding : of Python; those of `BOMS` begin with a mark of byte order
    decimal : mark in numbers
    newline : end of a row
    quoted : whether all values are in quotation marks
    spaces : around values
    separator_line : whether Excel's line ``sep=;`` stands first
    """

    delimiter: str
    encoding: str
    decimal: str
    newline: str
    quoted: bool
    spaces: str
    separator_line: bool

    def written(self, header: list[str], rows: list[list[object]]) -> bytes:
        """The table as the bytes of a file."""
        lines = [self._line(values) for values in [header, *rows]]
        if self.separator_line:
            lines.insert(0, f"sep={self.delimiter}")
        text = "".join(line + self.newline for line in lines)
        return BOMS.get(self.encoding, b"") + text.encode(self.encoding.removesuffix("-bom"))

    def _line(self, values: list[object]) -> str:
        return self.delimiter.join(map(self._value, values))

    def _value(self, value: object) -> str:
        text = str(value).replace(".", self.decimal) if isinstance(value, float) else str(value)
        # Spaces outside quotation marks would be a part of the value.
        must = self.quoted or any(mark in text for mark in (self.delimiter, '"', "\n", "\r"))
        if must:
            return '"' + (self.spaces + text + self.spaces).replace('"', '""') + '"'
        return self.spaces + text + self.spaces
