"""Fixtures of all tests: the real images, a small model and an image that it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cellcam_training.fitting import error_factor
from hypothesis import settings
from support.fault_report import FaultRecorder
from support.models import two_discs, untrained_model

from cellcam import CellModel, Stack

# How long an example takes depends on what else the machine does.
settings.register_profile("cellcam", deadline=None)
settings.load_profile("cellcam")

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", help="write the faults that tests show into this document")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--reliability"):
        config.pluginmanager.register(FaultRecorder(Path(path)))


@pytest.fixture(scope="session", autouse=True)
def _few_cells_for_the_error_factor() -> Iterator[None]:
    """Trainings measure the error factor on as few cells as can show one: it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(error_factor, "_MOST", error_factor._FEWEST)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("the real images (../shared/data) are not beside this checkout")
    return SHARED


@pytest.fixture
def make_model() -> Callable[..., CellModel]:
    """Function that makes an untrained model; keyword arguments change its description."""
    return untrained_model


@pytest.fixture
def stack() -> Stack:
    """Two discs in two channels, see `support.models.two_discs`."""
    return two_discs()
