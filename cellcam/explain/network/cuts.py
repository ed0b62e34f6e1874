"""Gradients that a network cuts although its scores depend on the layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CUTS = (Tensor.detach, Tensor.data.__get__)  # type: ignore[attr-defined]


class NothingCut(TorchFunctionMode):
    """Within it and once ``on``, `detach` and `no_grad` leave gradients as they are.

    They are devices of training: the function that the network computes is the same without them.
    """

    on = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.on and func is torch._C._set_grad_enabled:
            args = (True,)
        if self.on and func in _CUTS:
            return args[0]
        return func(*args, **(kwargs or {}))
