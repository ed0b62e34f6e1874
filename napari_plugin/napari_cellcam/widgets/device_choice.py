"""The device that computes: a choice of those that this machine has, with their memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_cellcam.widgets.preferences import preference
from napari_cellcam.work.child_process import ChildProcess

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent


@dataclass(frozen=True)
class KnownDevices:
    """Devices of this machine.

    Attributes
    ----------
    descriptions : of each device, by name
    automatic : the device that ``auto`` stands for
    """

    descriptions: dict[str, str]
    automatic: str


class DeviceChoice(QWidget):
    """A choice of devices with a line about them.

    Loading torch would take seconds here, so a child process lists the devices. Until it ends,
    ``auto`` and ``cpu`` can be chosen.
    """

    _known: ClassVar[KnownDevices | None] = None  # listed once for all windows

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.choice = QComboBox()
        self.about = QLabel("Looking for devices...")
        self.about.setWordWrap(True)
        column.addWidget(self.choice)
        column.addWidget(self.about)
        self._process: ChildProcess | None = None
        preferred = str(preference("device"))
        for name in dict.fromkeys(["auto", "cpu", preferred]):
            self.choice.addItem(name, name)
        self.choice.setCurrentText(preferred)

    def chosen(self) -> str:
        """Name of the device, or auto."""
        return str(self.choice.currentData())

    def release(self) -> None:
        """End the child process."""
        if self._process is not None and self._process.running:
            self._process.cancel()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802, D102 - Qt's name
        super().showEvent(event)
        if DeviceChoice._known is not None:
            self._show(DeviceChoice._known)
        elif self._process is None:
            self._process = ChildProcess("info", "--json")
            self._process.ended.connect(self._listed)

    def _listed(self, status: int, output: str) -> None:
        if status != 0:
            self.about.setText("The devices could not be listed; auto takes the best.")
            return
        information = json.loads(output[output.index("{") :])
        DeviceChoice._known = KnownDevices(information["devices"], information["device auto"])
        self._show(DeviceChoice._known)

    def _show(self, known: KnownDevices) -> None:
        for name, description in known.descriptions.items():
            if self.choice.findData(name) < 0:
                self.choice.addItem(f"{name}: {description}", name)
        automatic = known.automatic
        self.about.setText(f"auto is {automatic}: {known.descriptions.get(automatic, '')}")
