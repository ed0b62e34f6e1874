"""LeGrad, for the transformers that torchcam can read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellcam.evaluate.method import Method, upsampled


def is_read_by_legrad(network: nn.Module) -> bool:
    """Whether this is one of torchvision's transformers with a class token."""
    from torchvision.models import VisionTransformer

    return isinstance(network, VisionTransformer)


def legrad(network: nn.Module) -> Method:
    """Bousselham et al., "LeGrad", ICCV 2025, over all blocks of a torchvision ViT, unscaled.

    The positive gradients of each block's score by its attention, averaged over heads and queries.
    """
    from torchcam.methods import LeGrad

    blocks: list[nn.Module | str] = list(network.get_submodule("encoder.layers").children())

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        with LeGrad(network, blocks) as cam, torch.enable_grad():
            (found,) = cam(classes.tolist(), network(x), normalized=False)
        return upsampled(found, x)

    return Method("LeGrad", "torchcam", maps)
