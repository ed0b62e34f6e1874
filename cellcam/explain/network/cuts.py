"""Gradients that a network cuts although its scores depend on the layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CUTS = (Tensor.detach, Tensor.data.__get__)  # type: ignore[attr-defined]


class NothingCut(TorchFunctionMode):
    """Within it and once ``on``, `detach`, `no_grad` and `inference_mode` cut no gradients.

    They are devices of training: the function that the network computes is the same without them.
    """

    on = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.on:
            return func(*args, **(kwargs or {}))
        if func in _CUTS:
            return args[0]
        with torch.inference_mode(False):  # autograd is on, too
            return func(*args, **(kwargs or {}))
