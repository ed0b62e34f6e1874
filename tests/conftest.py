"""What all tests share: where the real images are, and small networks."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("the real images (../shared/data) are not beside this checkout")
    return SHARED
