"""Garbage collections leave out what torch's import brought.

Python's collector stops every thread while it looks through all objects. With torch and MONAI
these are a million, and one collection takes 0.4 s and more; without them it takes 0.15 s. It comes
at any moment, often while something is imported, and napari asks for one whenever a layer is
removed.
"""

from __future__ import annotations

import ctypes
import gc
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


@contextmanager
def left_out_of_collections() -> Iterator[None]:
    """Import libraries: no collections meanwhile, and later ones leave out what they brought.

    What other threads make meanwhile is left out, too: a layer that is opened while torch is
    imported is freed when the process ends, and not before.
    """
    there, was_enabled = gc.get_objects(), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        _take_up_again(_without_code(there))
        gc.collect(1)  # or the next two collections would look through all of them
        if was_enabled:
            gc.enable()


def _without_code(objects: list[object]) -> list[object]:
    """Objects but modules, classes and their functions, which stay until the process ends.

    They and their tables are a third of napari's objects.
    """
    code = [each for each in objects if _is_code(each)]
    left_out = {id(each) for each in code}
    for each in code:
        left_out.update(id(part) for part in gc.get_referents(each) if type(part) in (dict, tuple))
    return [each for each in objects if id(each) not in left_out]


def _is_code(each: object) -> bool:
    """Whether an object came with its module's import and is a part of it.

    A function that was made while another one ran may hold what that one had at hand, a layer.
    """
    kind = type(each)  # not `isinstance`, which asks the object
    if kind is types.FunctionType:
        function = cast(types.FunctionType, each)
        return function.__closure__ is None and "<locals>" not in function.__qualname__
    if issubclass(kind, type):
        return "<locals>" not in cast(type, each).__qualname__
    return kind is types.ModuleType


def _take_up_again(objects: list[object]) -> None:
    """Let collections look at frozen objects again: Python itself can only unfreeze all.

    An object that the collector stops and then begins to track belongs to its youngest generation.
    """
    stop, begin = ctypes.pythonapi.PyObject_GC_UnTrack, ctypes.pythonapi.PyObject_GC_Track
    for each in map(ctypes.py_object, objects):  # no attribute of the object is looked at
        stop(each)
        begin(each)
