"""Sanity checks: do maps depend on the network and on the image?

After Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018. A convincing picture that
ignores the network fails here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellcam.evaluate.statistics import Mean, bootstrap_mean
from cellcam.explain.integrated_gradcam import IntegratedGradCAM

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]

_NOISE = 0.05
_ALIKE_PLANES = 3


@dataclass(frozen=True)
class SanityCheck:
    """One figure and the value that is expected of it.

    Attributes
    ----------
    name : of the check
    figure : mean over images and its 95 % interval
    expected : expected value and its meaning, as text
    passed : whether the whole interval is as expected
    """

    name: str
    figure: Mean
    expected: str
    passed: bool


def integrated_gradcam(layer: str, black: float | Tensor, **settings: Any) -> Explain:
    """Importance by Integrated Grad-CAM, as a function of the network."""

    def explain(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        cam = IntegratedGradCAM(network, layer, black=black, **settings)
        return cam(x, classes).importance[:, 0]

    return explain


def randomisation_check(
    explain: Explain, network: nn.Module, x: Tensor, classes: Tensor, seed: int = 0
) -> SanityCheck:
    """Loss of rank correlation when all weights are randomised.

    The figure is r(map, repeated map) - r(map, map of the randomised network): near 1 if maps are
    reproducible and depend on the weights; 0 if they ignore the network, constant or random.
    """
    maps = explain(network, x, classes)
    again = rank_correlation(maps, explain(network, x, classes))
    *_, (_, alike) = randomisation_cascade(explain, network, x, classes, seed)
    figure = bootstrap_mean(again - alike)
    return SanityCheck(
        "fall when the weights are randomised",
        figure,
        "at least 0.3: near 0, the map does not depend on the network",
        figure.low > 0.3,
    )


def randomisation_cascade(
    explain: Explain, network: nn.Module, x: Tensor, classes: Tensor, seed: int = 0
) -> list[tuple[str, NDArray[np.float64]]]:
    """Rank correlation with the trained network's maps, randomising layers from the output down.

    Returns
    -------
    for each layer: its name, and (N,) correlations with it and all layers above randomised
    """
    maps = explain(network, x, classes)
    randomised = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    found = []
    layers = [(name, module) for name, module in randomised.named_modules() if _has_weights(module)]
    for name, module in reversed(layers):
        _randomise(module, generator)
        found.append((name, rank_correlation(maps, explain(randomised, x, classes))))
    return found


def noise_check(
    explain: Explain, network: nn.Module, x: Tensor, classes: Tensor, seed: int = 0
) -> SanityCheck:
    """Rank correlation with the map of the same cell under noise, less that with another cell.

    The noise has a twentieth of the standard deviation of the images. Near 0 for constant and
    for random maps.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator).to(x)
    maps = explain(network, x, classes)
    noisy = explain(network, x + _NOISE * x.std() * noise, classes)
    contrast = rank_correlation(maps, noisy) - rank_correlation(maps, maps.roll(1, 0))
    figure = bootstrap_mean(contrast)
    return SanityCheck(
        "likeness under noise, beyond that of two cells",
        figure,
        "above 0.1: else the map is chance, or the same for every cell",
        figure.low > 0.1,
    )


def completeness_check(
    explain_signed: Explain, network: nn.Module, x: Tensor, classes: Tensor, start: Tensor
) -> SanityCheck:
    """Relative gap between the sum of signed maps, at layer resolution, and the score difference.

    Parameters
    ----------
    explain_signed : complete maps whose sum should be y_c(x) - y_c(start)
    start : (N, C, *spatial) tensor, starting points of the paths
    """
    with torch.no_grad():
        difference = network(x) - network(start)
    wanted = difference.gather(1, classes[:, None])[:, 0].double()
    total = explain_signed(network, x, classes).double().flatten(1).sum(1)
    figure = bootstrap_mean(((total - wanted).abs() / wanted.abs()).cpu().numpy())
    return SanityCheck(
        "gap between the complete map's sum and the score",
        figure,
        "below 0.05: the map accounts for the score",
        figure.high < 0.05,
    )


def dimension_check(
    explain: Explain, network: nn.Module, x: Tensor, classes: Tensor
) -> SanityCheck:
    """Rank correlation of 2-D maps with those of an equivalent 3-D network.

    The 3-D network has the kernels of the 2-D one, one plane thick, and sees each image as a few
    equal planes: its maps must be the 2-D ones on every plane.
    """
    flat = explain(network, x, classes)
    volume = x.unsqueeze(2).expand(-1, -1, _ALIKE_PLANES, *x.shape[2:]).contiguous()
    deep = explain(as_volume_network(network), volume, classes)
    alike = np.mean([rank_correlation(flat, plane) for plane in deep.unbind(1)], axis=0)
    figure = bootstrap_mean(alike)
    return SanityCheck(
        "agreement of 2-D and 3-D", figure, "above 0.99: both are one method", figure.low > 0.99
    )


def rank_correlation(maps: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Spearman's rank correlation (N,) of maps (N, *spatial).

    0 where one map is constant, such as an empty map; 1 where both are.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(m.detach().cpu().double().flatten(1).numpy(), axis=1) for m in (maps, others)]
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    both_flat = ~(a.any(1) | b.any(1))
    return np.divide((a * b).sum(1), scale, out=both_flat.astype(float), where=scale > 0)


def as_volume_network(network: nn.Module) -> nn.Module:
    """The network in 3-D: kernels, pools and strides are one plane thick.

    Raises
    ------
    ValueError
        If it has a 2-D layer without a known 3-D form.
    """
    volume = copy.deepcopy(network)
    for name, module in list(volume.named_modules()):
        if type(module) in _IN_3D:
            volume.set_submodule(name, _IN_3D[type(module)](module))
        elif type(module).__name__.endswith("2d") and not list(module.children()):
            raise ValueError(f"{name} is a {type(module).__name__}, which has no 3-D form here.")
    return volume


def _convolution(flat: nn.Conv2d) -> nn.Module:
    deep = nn.Conv3d(
        flat.in_channels,
        flat.out_channels,
        _one_plane(flat.kernel_size, 1),
        _one_plane(flat.stride, 1),
        _one_plane(flat.padding, 0),
        _one_plane(flat.dilation, 1),
        flat.groups,
        flat.bias is not None,
    )
    deep.weight.data = flat.weight.data.unsqueeze(2).clone()
    if flat.bias is not None and deep.bias is not None:
        deep.bias.data = flat.bias.data.clone()
    return deep


def _normalisation(flat: nn.BatchNorm2d) -> nn.Module:
    deep = nn.BatchNorm3d(flat.num_features, flat.eps, flat.momentum, flat.affine)
    deep.load_state_dict(flat.state_dict())
    return deep.train(flat.training)


def _max_pool(flat: nn.MaxPool2d) -> nn.Module:
    return nn.MaxPool3d(
        _one_plane(flat.kernel_size, 1),
        _one_plane(flat.stride, 1),
        _one_plane(flat.padding, 0),
        ceil_mode=flat.ceil_mode,
    )


def _average_pool(flat: nn.AdaptiveAvgPool2d) -> nn.Module:
    if flat.output_size not in (1, (1, 1)):
        raise ValueError("An average pool to more than one position has no 3-D form here.")
    return nn.AdaptiveAvgPool3d(1)


_IN_3D: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _normalisation,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: _average_pool,
}


def _one_plane(size: int | str | Sequence[int], depth: int) -> tuple[int, int, int]:
    if isinstance(size, str):
        raise ValueError(f"padding={size!r} has no 3-D form here.")
    y, x = (size, size) if isinstance(size, int) else size
    return (depth, y, x)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Replace the weights of one layer by random ones of the same scale; biases keep their mean."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            scale = parameter.std(unbiased=False)
            random = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.copy_(parameter.mean() * (parameter.ndim == 1) + scale * random)
