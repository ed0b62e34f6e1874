"""Garbage collections leave out what torch's import brought.

Python's collector stops every thread while it looks through all objects. With torch and MONAI
these are a million, and one collection takes 0.4 s and more; without them it takes 0.15 s. It comes
at any moment, often while something is imported, and napari asks for one whenever a layer is
removed.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

# Of these libraries, as of Python's own, a module holds what it needs to the end, and no layers.
_LIBRARIES = {"OpenGL", "pint", "pydantic", "pydantic_core", "sip"}


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
        _take_up_again(_without_lasting(there))
        gc.collect(1)  # or the next two collections would look through all of them
        if was_enabled:
            gc.enable()


def _without_lasting(objects: list[object]) -> list[object]:
    """Objects but modules and what they hold to the end: classes, functions, tables, constants.

    They are two thirds of napari's objects. What layers, widgets and other instances hold is looked
    at further, whatever it is.
    """
    kinds = {kind for kind in set(map(type, objects)) if _may_last(kind)}
    may_last = {id(each): each for each in objects if type(each) in kinds}
    rest = [each for each in objects if id(each) not in may_last]
    found: list[object] = [each for each in objects if type(each) is types.ModuleType]
    while found:
        for each in found:
            del may_last[id(each)]
        reached = {id(each) for each in gc.get_referents(*found)}
        found = [may_last[each] for each in reached & may_last.keys()]
    return rest + list(may_last.values())


def _may_last(kind: type) -> bool:
    """Whether an object of this type lasts until the process ends, if a module holds it."""
    library = str(kind.__module__).partition(".")[0]
    return issubclass(kind, type) or library in sys.stdlib_module_names | _LIBRARIES


def _take_up_again(objects: list[object]) -> None:
    """Let collections look at frozen objects again: Python itself can only unfreeze all.

    An object that the collector stops and then begins to track belongs to its youngest generation.
    """
    stop, begin = ctypes.pythonapi.PyObject_GC_UnTrack, ctypes.pythonapi.PyObject_GC_Track
    for each in map(ctypes.py_object, objects):  # no attribute of the object is looked at
        stop(each)
        begin(each)
