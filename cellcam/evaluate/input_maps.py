"""Maps at the resolution of the input: integrated and expected gradients, and edges alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cellcam.evaluate.method import Method
from cellcam.explain.baselines import Baseline, baseline_images
from cellcam.explain.network.splitting import left_as_it_was

_STEPS = 50  # captum's default for Integrated Gradients


def integrated_gradients(network: nn.Module, baselines: Baseline, black: float | Tensor) -> Method:
    """The positive part of the sum over channels, from the baseline of CellCam's explanations."""
    from captum.attr import IntegratedGradients

    gradients = IntegratedGradients(network)

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        start = baseline_images(baselines, x, black)
        found = gradients.attribute(
            x, start, target=classes, n_steps=_STEPS, internal_batch_size=max(64, len(x))
        )
        return _importance(found.to(x.dtype))

    return Method("Integrated Gradients", "captum", maps)


def expected_gradients(network: nn.Module, references: Tensor) -> Method:
    """Erion et al., Nature Machine Intelligence 2021: the mean over paths from other images.

    At (x - r) dy/dx, for references r drawn by chance and places a on their path, one of each of
    50 equal parts, so that fewer draws are needed. The positive part of the sum over channels.

    Parameters
    ----------
    references : (M, C, *spatial) images like those that are explained
    """

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(0)
        total = torch.zeros_like(x)
        with left_as_it_was(network), torch.enable_grad():
            for part in range(_STEPS):
                drawn = torch.randint(len(references), (len(x),), generator=random)
                place = (part + torch.rand(len(x), generator=random)) / _STEPS
                start = references[drawn.to(references.device)].to(x)
                way = x - start
                at = (start + place.to(x).view(-1, *[1] * (x.ndim - 1)) * way).requires_grad_()
                chosen = network(at).gather(1, classes[:, None]).sum()
                total += way * torch.autograd.grad(chosen, at)[0] / _STEPS
        return _importance(total)

    return Method("Expected Gradients", "cellcam", maps)


def edge_filter() -> Method:
    """The size of the images' own slopes (Sobel), summed over channels: no network is asked.

    A control: what does not beat it may owe its success to the pictures alone.
    """

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        from scipy.ndimage import generic_gradient_magnitude, sobel

        planes = x.detach().cpu().double().flatten(0, 1).numpy()
        edges = np.stack([generic_gradient_magnitude(plane, sobel) for plane in planes])
        return torch.from_numpy(edges).to(x).unflatten(0, x.shape[:2]).sum(1)

    return Method("edge filter", "scipy", maps)


def _importance(attributions: Tensor) -> Tensor:
    return attributions.detach().sum(1).clamp(min=0)
