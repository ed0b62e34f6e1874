"""Read files of torch as data: nothing in them is executed, and no tensor claims what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellcam.errors import InputError


def read_state(path: Path, way_out: str) -> Any:
    """Content of a file that `torch.save` wrote: tensors, numbers and text.

    Parameters
    ----------
    way_out : what the user can do where the file cannot be used

    Raises
    ------
    InputError
        If it would run code, is damaged, or holds tensors larger than their data, sparse ones, or
        values that are not finite.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # a damaged file can raise anything
        why = str(error).strip().partition("\n")[0][:200]
        raise InputError(f"{path} cannot be read: {why} {way_out}") from error
    if wrong := _wrong_with(state):
        raise InputError(f"{path} holds {wrong}. {way_out}")
    return state


def _wrong_with(state: Any) -> str:
    """What must not be in a file of weights; empty if nothing is."""
    import torch

    pending = [state]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized:
                return "a tensor that is not dense"
            if value.untyped_storage().nbytes() < value.numel() * value.element_size():
                return f"a tensor of {value.numel()} values, most of which are not in the file"
            if not torch.isfinite(value).all():
                return "values that are NaN or infinite"
    return ""
