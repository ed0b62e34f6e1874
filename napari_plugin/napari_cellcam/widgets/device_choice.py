"""The device that computes: a choice of those that this machine has, with their memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtWidgets import QSizePolicy

from napari_cellcam.widgets.narrow_combo_box import NarrowComboBox
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


class DeviceChoice(NarrowComboBox):
    """A choice of devices.

    Loading torch would take seconds here, so a child process lists the devices. Until it ends,
    ``auto`` and ``cpu`` can be chosen.
    """

    _known: ClassVar[KnownDevices | None] = None  # listed once for all windows

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Looking for devices...")
        # Long descriptions must not widen the dock.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._process: ChildProcess | None = None
        preferred = str(preference("device"))
        for name in dict.fromkeys(["auto", "cpu", preferred]):
            self.addItem(name, name)
        self.setCurrentIndex(self.findData(preferred))

    def chosen(self) -> str:
        """Name of the device, or auto."""
        return str(self.currentData())

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
            self.setToolTip("The devices could not be listed; auto takes the best.")
            return
        information = json.loads(output[output.index("{") :])
        DeviceChoice._known = KnownDevices(information["devices"], information["device auto"])
        self._show(DeviceChoice._known)

    def _show(self, known: KnownDevices) -> None:
        for name, description in known.descriptions.items():
            if self.findData(name) < 0:
                self.addItem("", name)
            self.setItemText(self.findData(name), f"{name}: {description}")
        best = known.descriptions.get(known.automatic, "")
        self.setItemText(self.findData("auto"), f"auto: {known.automatic}, {best}")
        self.setToolTip("Where the network runs; auto takes the best device.")
