"""Choice of what is done with the planes of a z-stack, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QLabel

from cellcam.models.network_input import ClassifierDraft
from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox

if TYPE_CHECKING:
    from cellcam.models.network_input import NetworkInput, Planes


@dataclass(frozen=True)
class Way:
    """One thing to do with the planes.

    Attributes
    ----------
    name : in the list
    meaning : what it does to cells
    trained_on : what a model saw that was trained this way
    """

    name: str
    meaning: str
    trained_on: str


WAYS: dict[Planes, Way] = {
    "plane": Way(
        "Every plane by itself",
        "Each plane is classified; the table says which planes show the same cell.",
        "single planes",
    ),
    "max": Way(
        "Brightest of all planes (projection)",
        "One flat image of the brightest values: cells above each other become one.",
        "projections of the brightest values",
    ),
    "mean": Way(
        "Mean of all planes (projection)",
        "One flat image of the mean: less noise, but small bright spots fade.",
        "projections of the mean",
    ),
    "volume": Way(
        "Whole volume",
        "Each cell is found and classified in all its planes together.",
        "volumes",
    ),
}
_WORDS: dict[Planes, Literal["each", "max", "mean"]] = {
    "plane": "each",
    "max": "max",
    "mean": "mean",
}


class PlaneChoice(NarrowComboBox):
    """What is done with the planes of a z-stack. What a model cannot do is greyed, and says why.

    Attributes
    ----------
    meaning : a sentence about the choice, to be put below it
    wanted : by the user, whether the present model can do it or not; None: as the model was trained

    Signals
    -------
    changed : the user chose something else
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._trained: Planes | None = None  # as the model was trained
        self._is_trained = False  # a draft only says what it is to see
        self.wanted: Planes | None = None
        self._is_offered = False
        self.meaning = QLabel()
        self.meaning.setWordWrap(True)
        self.setToolTip("What is done with the planes of a stack.")
        for key, way in WAYS.items():
            self.addItem(way.name, key)
            self.setItemData(self.count() - 1, way.meaning, Qt.ItemDataRole.ToolTipRole)
        self.activated.connect(lambda index: self.choose(self.itemData(index)))

    def offer(
        self, spec: NetworkInput | None, has_planes: bool, labels_have_planes: bool = False
    ) -> None:
        """Offer what can be done, or nothing where there are no planes.

        Parameters
        ----------
        spec : of the model; None before one is chosen
        has_planes : whether the image has several planes
        labels_have_planes : whether the user's own labels have several planes
        """
        self._is_offered = has_planes and spec is not None
        self._trained = spec.field if spec is not None else None
        self._is_trained = not isinstance(spec, ClassifierDraft)
        for index, key in enumerate(WAYS):
            self._enable(index, self._hindrance(key, labels_have_planes))
        preferred = [key for key in (self.wanted, self._trained) if key is not None]
        self._show(next(filter(self._is_possible, [*preferred, *WAYS])))

    @property
    def is_offered(self) -> bool:
        """Whether there is anything to choose."""
        return self._is_offered

    def chosen(self) -> Literal["each", "max", "mean"] | None:
        """Planes as `Request.z` says them; None: as the model was trained."""
        key = self.currentData()
        if not self._is_offered or key == self._trained:
            return None
        return _WORDS[key]

    def choose(self, key: Planes) -> None:
        """Choose one of what is offered."""
        self.wanted = None if key == self._trained else key
        self._show(key)
        self.changed.emit()

    def _show(self, key: Planes) -> None:
        self.setCurrentIndex(self.findData(key))
        text = WAYS[key].meaning
        if self._is_trained and self._trained not in (None, key):
            text += f" The model learned from {WAYS[self._trained].trained_on}: check its calls."
        self.meaning.setText(text)

    def _hindrance(self, key: Planes, labels_have_planes: bool) -> str:
        """Why this cannot be done; empty if it can."""
        if self._trained is not None and (key == "volume") != (self._trained == "volume"):
            seen = "volumes" if self._trained == "volume" else "flat images"
            return f"this classifier sees {seen}"
        if key in ("max", "mean") and labels_have_planes:
            return "your labels have planes"
        return ""

    def _enable(self, index: int, hindrance: str) -> None:
        name = WAYS[self.itemData(index)].name
        self.setItemText(index, f"{name}: {hindrance}" if hindrance else name)
        model = self.model()
        assert isinstance(model, QStandardItemModel)
        model.item(index).setEnabled(not hindrance)

    def _is_possible(self, key: Planes) -> bool:
        model = self.model()
        assert isinstance(model, QStandardItemModel)
        return bool(model.item(self.findData(key)).isEnabled())
