"""Inputs that the fuzzer kept (`benchmarks/fuzz/tiff.py`): opened, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellcam import InputError, open_stack

FUZZED = sorted((Path(__file__).parent / "fuzzed").iterdir())


@pytest.mark.fault("2 any bytes in a TIFF", "opened, or refused with a reason that names the file")
@pytest.mark.parametrize("path", FUZZED, ids=lambda path: path.stem)
@pytest.mark.parametrize("tolerate", [False, True])
def test_inputs_of_the_fuzzer(path: Path, tolerate: bool) -> None:
    try:
        open_stack(path, axes="TYX", tolerate_missing=tolerate).loaded()
    except InputError as error:
        said = str(error)
    else:
        said = path.name
    assert path.name in said or "axes=" in said
