"""Garbage collections leave out what torch's import brought.

Python's collector stops every thread while it looks through all objects. With torch and MONAI
these are a million, and one collection takes 0.4 s and more; without them it takes 0.15 s. It comes
at any moment, often while something is imported, and napari asks for one whenever a layer is
removed.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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
        _take_up_again(there)
        gc.collect(1)  # or the next two collections would look through all of them
        if was_enabled:
            gc.enable()


def _take_up_again(objects: Iterable[object]) -> None:
    """Let collections look at frozen objects again: Python itself can only unfreeze all.

    An object that the collector stops and then begins to track belongs to its youngest generation.
    """
    stop, begin = ctypes.pythonapi.PyObject_GC_UnTrack, ctypes.pythonapi.PyObject_GC_Track
    for each in map(ctypes.py_object, objects):  # no attribute of the object is looked at
        stop(each)
        begin(each)
