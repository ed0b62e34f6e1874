"""True classes that the user gave to cells. They belong to an image and a place in it. No Qt here.

They survive another threshold, another model and another image, add up over images, and every
change can be undone. Each keeps the pixels that a network sees of its cell, so that a training can
use cells of images that are closed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError

if TYPE_CHECKING:
    from cellcam.models.network_input import NetworkInput
    from napari_cellcam.state.session import Session

TABLE, CROPS = "corrections.csv", "crops"
_COLUMNS = ("image", "image_name", "t", "z", "y", "x", "cls", "stains", "pixel_size_um", "crop")


class Place(NamedTuple):
    """Where a cell is.

    Attributes
    ----------
    image : see `ImageKey.place`
    t, z : field, as in the cell table
    y, x : centre in pixels of the image
    """

    image: str
    t: int
    z: str
    y: float
    x: float


class Geometry(NamedTuple):
    """What a crop shows: its stains and its pixel size in um (None if unknown)."""

    stains: tuple[str, ...]
    pixel_size_um: tuple[float, ...] | None
    crop_size: tuple[int, ...]

    @classmethod
    def of(cls, spec: NetworkInput) -> Geometry:
        """Geometry of the crops that a network sees."""
        return cls(spec.channels, spec.pixel_size_um, spec.crop_size)


@dataclass(frozen=True, eq=False)
class Correction:
    """The true class of one cell.

    Attributes
    ----------
    name : the class
    image_name : for people
    geometry, pixels : crop of the cell, counts (C, *crop_size)
    """

    name: str
    image_name: str
    geometry: Geometry
    pixels: NDArray[np.generic]

    @property
    def crop_name(self) -> str:
        """Name of the crop's file, made of its content."""
        return f"{crop_hash(self.pixels)}.npy"


def crop_hash(pixels: NDArray[np.generic]) -> str:
    """Name of a crop, made of its content."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:20]


class State(NamedTuple):
    """All corrections at one moment. `given` is never changed, only replaced."""

    classes: tuple[str, ...] = ()
    given: dict[Place, Correction] = {}  # noqa: RUF012 - see the docstring


class Corrections:
    """Classes, and the true class of each corrected cell, with all changes so far.

    Attributes
    ----------
    folder : every change is written here at once; None: nowhere
    on_change : called after each change
    unwritten : why the present corrections are not on disk; empty if they are
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.on_change: Callable[[], object] = lambda: None
        self._states, self._now = [State()], 0
        self._written: set[str] = set()
        self._offered: set[str] = set()  # classes that models brought
        self._added: set[str] = set()  # classes that the user named since the project was opened
        self.unwritten = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in their order."""
        return self._state.classes

    def classes_for(self, spec: NetworkInput) -> tuple[str, ...]:
        """Classes for cells as a network sees them: not those of the project's other classifiers.

        Its own, those of cells that fit, those that the user named, and those that nobody uses.
        """
        _, fitting, _ = self.training_cells(spec)
        shown = {*spec.classes, *(c.name for c in fitting), *self._added}
        used = {c.name for c in self._state.given.values()} | self._offered
        return tuple(name for name in self.classes if name in shown or name not in used)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        """Whether an undone change can be made again."""
        return self._now < len(self._states) - 1

    def __len__(self) -> int:
        return len(self._state.given)

    def counts(self) -> dict[str, int]:
        """Number of cells of each class, in all images."""
        counted = Counter(correction.name for correction in self._state.given.values())
        return {name: counted[name] for name in self.classes}

    def rows(self, session: Session) -> dict[int, str]:
        """True class by row of a session's table: of the cell that lies at each place."""
        found = {}
        for place, correction in self._state.given.items():
            if place.image == session.origin.image.place:
                row = _row_at(session, place)
                if row is not None:
                    found[row] = correction.name
        return found

    def assign(self, session: Session, rows: Iterable[int], name: str) -> None:
        """Give cells a class; a class of before is replaced."""
        given = self._without(session, rows := list(rows))
        geometry = Geometry.of(session.spec)
        for row in rows:
            correction = Correction(
                name, session.origin.image.name, geometry, session.crop(row).copy()
            )
            given[_place(session, row)] = correction
        self._change(_with_class(self._state, given, name))

    def clear(self, session: Session, rows: Iterable[int]) -> None:
        """Take the class of cells away."""
        self._change(self._state._replace(given=self._without(session, list(rows))))

    def add_class(self, name: str) -> None:
        """Add a class; one that is there is only shown."""
        self._added.add(name)
        if name and name not in self.classes:
            self._change(self._state._replace(classes=(*self.classes, name)))
        else:
            self.on_change()

    def remove_class(self, name: str) -> None:
        """Remove a class and the corrections of its cells."""
        given = {place: c for place, c in self._state.given.items() if c.name != name}
        self._change(State(tuple(n for n in self.classes if n != name), given))

    def rename_class(self, old: str, new: str) -> None:
        """Rename a class; with the name of another class, both become one."""
        self._added.add(new)
        names = tuple(dict.fromkeys(new if n == old else n for n in self.classes))
        given = {
            place: replace(c, name=new) if c.name == old else c
            for place, c in self._state.given.items()
        }
        self._change(State(names, given))

    def offer_classes(self, names: Sequence[str]) -> None:
        """Make sure that these classes of a network are there; not a change of the user."""
        self._offered.update(names)
        self._states[self._now] = self._state._replace(
            classes=tuple(dict.fromkeys([*names, *self.classes]))
        )

    def undo(self) -> None:
        """Undo the last change."""
        if self.can_undo:
            self._now -= 1
            self._tell()

    def redo(self) -> None:
        """Make the change again that was undone last."""
        if self.can_redo:
            self._now += 1
            self._tell()

    def training_cells(self, spec: NetworkInput) -> tuple[list[Place], list[Correction], int]:
        """Places and corrections whose crops fit, and the number of those that do not."""
        geometry = Geometry.of(spec)
        fitting = [(p, c) for p, c in self._state.given.items() if c.geometry == geometry]
        places, corrections = [p for p, _ in fitting], [c for _, c in fitting]
        return places, corrections, len(self._state.given) - len(fitting)

    def load(self, folder: Path) -> None:
        """Continue with the corrections of a folder.

        Raises
        ------
        InputError
            If its table or a crop cannot be read.
        """
        import json

        import pandas as pd

        try:
            names = json.loads((folder / "classes.json").read_text("utf-8"))
            table = pd.read_csv(folder / TABLE, dtype={"z": str, "cls": str}, keep_default_na=False)
            lacking = [name for name in _COLUMNS if name not in table]
            if lacking:
                raise ValueError(f"{TABLE} has no column {lacking[0]}")
            given = {}
            for row in table.astype(str).to_dict("records"):
                pixels = np.load(folder / CROPS / row["crop"], allow_pickle=False)
                sizes = tuple(map(float, row["pixel_size_um"].split())) or None
                geometry = Geometry(tuple(json.loads(row["stains"])), sizes, pixels.shape[1:])
                y, x = float(row["y"]), float(row["x"])
                place = Place(row["image"], int(row["t"]), row["z"], y, x)
                given[place] = Correction(row["cls"], row["image_name"], geometry, pixels)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{folder} holds no corrections of CellCam: {error}") from error
        self.folder = folder
        self._states, self._now = [State(tuple(map(str, names)), given)], 0
        self.on_change()

    @property
    def _state(self) -> State:
        return self._states[self._now]

    def _without(self, session: Session, rows: Sequence[int]) -> dict[Place, Correction]:
        """All corrections but those of these cells."""
        gone = set(rows)
        return {
            place: correction
            for place, correction in self._state.given.items()
            if place.image != session.origin.image.place or _row_at(session, place) not in gone
        }

    def _change(self, state: State) -> None:
        self._states = [*self._states[: self._now + 1], state]
        self._now += 1
        self._tell()

    def write(self) -> None:
        """Write all corrections; see `unwritten`. Each change does this already."""
        self.unwritten = ""
        if self.folder is not None:
            try:
                self._write(self.folder)
            except OSError as error:  # a full disk, or a folder that is gone: work goes on
                self.unwritten = f"{self.folder} cannot be written: {error.strerror or error}."

    def write_all(self) -> None:
        """Write into a folder that has none of it yet."""
        self._written.clear()
        self.write()

    def _tell(self) -> None:
        self.write()
        self.on_change()

    def _write(self, folder: Path) -> None:
        """Write all corrections; each crop is written once, the table as a whole."""
        import pandas as pd

        from cellcam.stacks.writing import whole_file, write_json

        (folder / CROPS).mkdir(parents=True, exist_ok=True)
        rows = []
        for place, correction in self._state.given.items():
            crop = correction.crop_name
            if crop not in self._written:
                with whole_file(folder / CROPS / crop) as temporary, open(temporary, "wb") as file:
                    np.save(file, correction.pixels, allow_pickle=False)
                self._written.add(crop)
            rows.append(_table_row(place, correction, crop))
        write_json(folder / "classes.json", list(self.classes))
        with whole_file(folder / TABLE) as temporary:
            pd.DataFrame(rows, columns=list(_COLUMNS)).to_csv(temporary, index=False)


def _with_class(state: State, given: dict[Place, Correction], name: str) -> State:
    """The state with other corrections, and ``name`` among its classes."""
    return State(tuple(dict.fromkeys([*state.classes, name])), given)


def _table_row(place: Place, correction: Correction, crop: str) -> tuple[object, ...]:
    import json

    geometry = correction.geometry
    sizes = " ".join(map(str, geometry.pixel_size_um or ()))
    stains = json.dumps(geometry.stains)
    image, *where = place
    return (image, correction.image_name, *where, correction.name, stains, sizes, crop)


def _place(session: Session, row: int) -> Place:
    facts = session.table.iloc[row]
    image = session.origin.image.place
    y, x = round(float(facts["y"]), 2), round(float(facts["x"]), 2)
    return Place(image, int(facts["t"]), str(facts["z"]), y, x)


def _row_at(session: Session, place: Place) -> int | None:
    """Table row of the cell at a place; None if there is no cell now, or no such field."""
    for i, found in enumerate(session.found):
        z = str(0 if found.place.z is None else found.place.z)
        if (found.place.t, z) == (place.t, place.z):
            y, x = round(place.y), round(place.x)
            labels = found.labels if found.labels.ndim == 2 else found.labels.max(axis=0)
            if not (0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]):
                return None
            numbers = found.cells.numbers
            hit = np.flatnonzero(numbers == labels[y, x])
            if labels[y, x] == 0 or not len(hit):
                return _nearest(session, i, place)
            return int(session.first_rows[i]) + int(hit[0])
    return None


def _nearest(session: Session, field: int, place: Place) -> int | None:
    """Row of the cell whose own centre is here: the centre of a bent cell lies outside it."""
    centres = session.found[field].cells.centres[:, -2:]
    if not len(centres):
        return None
    distance = np.abs(centres - (place.y, place.x)).max(axis=1)
    nearest = int(distance.argmin())
    return int(session.first_rows[field]) + nearest if distance[nearest] <= 1 else None
