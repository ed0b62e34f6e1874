"""The networks by name, from MONAI, torchvision and timm, each with the layer that is explained.

A model folder can only name networks of this table, or architectures of timm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from cellcam.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm/"  # prefix of the names of timm's architectures

_Builder = Callable[[int, int, int], "nn.Module"]

# Formula and baseline of CellCam's explanations; chosen in docs/decisions/0013.
FORMULA: Literal["complete"] = "complete"
BASELINE: Literal["background"] = "background"


@dataclass(frozen=True)
class NetworkEntry:
    """One network of the registry.

    Attributes
    ----------
    build : (spatial_dims, in_channels, n_classes) -> network with random weights
    last_layer : name of the last layer whose maps are fine enough, or a function that finds it
    spatial_dims : 2, 3, or both
    early_layer : name of the layer of CellCam's explanations, where that is an earlier one:
        docs/decisions/0013
    """

    build: _Builder
    last_layer: str | Callable[[], str]
    spatial_dims: tuple[int, ...] = (2, 3)
    early_layer: str | None = None

    @property
    def cam_layer(self) -> str:
        """Name of the layer of Grad-CAM and its rivals."""
        return self.last_layer if isinstance(self.last_layer, str) else self.last_layer()

    @property
    def target_layer(self) -> str:
        """Name of the layer of CellCam's explanations."""
        return self.early_layer or self.cam_layer


def network_names(spatial_dims: int | None = None) -> list[str]:
    """Names of all networks of the table, or of those for 2-D or 3-D crops."""
    return [
        n for n, e in _NETWORKS.items() if spatial_dims is None or spatial_dims in e.spatial_dims
    ]


def network_entry(name: str) -> NetworkEntry:
    """Registry entry of a name; `UsageError` lists the names that exist.

    An architecture of timm that is not in the table gets an entry of its own.
    """
    if name in _NETWORKS:
        return _NETWORKS[name]
    if name.startswith(TIMM):
        return _entry_of_timm(name)
    raise UsageError(
        f"There is no network {name!r}. Choose one of {', '.join(_NETWORKS)}, or another of timm, "
        f"such as {TIMM}resnet50."
    )


def build_network(name: str, spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
    """Network with random weights, (N, in_channels, *spatial) -> (N, n_classes) scores.

    Raises
    ------
    UsageError
        If the name is unknown or the network does not come in that many dimensions.
    """
    entry = network_entry(name)
    if spatial_dims not in entry.spatial_dims:
        raise UsageError(
            f"Network {name!r} does not come in {spatial_dims}-D. "
            f"Choose one of {', '.join(network_names(spatial_dims))}."
        )
    return entry.build(spatial_dims, in_channels, n_classes)


def _small_cnn(depths: tuple[int, ...], widths: tuple[int, ...]) -> _Builder:
    def build(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
        from cellcam.models.small_cnn import SmallCNN

        return SmallCNN(spatial_dims, in_channels, n_classes, depths, widths)

    return build


def _stain_cnn(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
    from cellcam.models.stain_cnn import StainCNN

    return StainCNN(spatial_dims, in_channels, n_classes)


def _densenet(name: str) -> _Builder:
    def build(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
        from monai.networks import nets

        network: nn.Module = getattr(nets, name)(spatial_dims, in_channels, n_classes)
        return network

    return build


def _resnet(name: str) -> _Builder:
    def build(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
        from monai.networks import nets

        network: nn.Module = getattr(nets, name)(
            spatial_dims=spatial_dims, n_input_channels=in_channels, num_classes=n_classes
        )
        return network

    return build


def _seresnet50(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
    from monai.networks.nets import SEResNet50

    return SEResNet50(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=n_classes)


def _efficientnet_b0(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
    from monai.networks.nets import EfficientNetBN

    return EfficientNetBN(
        "efficientnet-b0",
        pretrained=False,
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        num_classes=n_classes,
    )


def _torchvision(name: str, first_convolution: str) -> _Builder:
    def build(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
        from torchvision.models import get_model

        network: nn.Module = get_model(name, weights=None, num_classes=n_classes)
        _set_input_channels(network, first_convolution, in_channels)
        return network

    return build


def _timm(name: str) -> _Builder:
    def build(spatial_dims: int, in_channels: int, n_classes: int) -> nn.Module:
        from cellcam.models.timm_networks import timm_network

        return timm_network(name, in_channels, n_classes)

    return build


def _entry_of_timm(name: str) -> NetworkEntry:
    """Entry of an architecture that is not in the table; its layer is found by a trial."""
    from cellcam.models.timm_networks import checked_name, last_layer

    checked_name(name)
    return NetworkEntry(_timm(name), partial(last_layer, name), (2,))


def _set_input_channels(network: nn.Module, layer: str, in_channels: int) -> None:
    """Replace the first convolution by a random one for ``in_channels`` channels."""
    from torch import nn

    old: Any = network.get_submodule(layer)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
        bias=old.bias is not None,
    )
    network.set_submodule(layer, new)


_NETWORKS = {
    # Ends at 1/4, receptive field 30 pixels: for few or small cells, and for organelles.
    "small_cnn": NetworkEntry(
        _small_cnn((1, 2, 2), (16, 32, 64)), "features", early_layer="features.1"
    ),
    # Ends at 1/8, receptive field 66 pixels: for classes that differ in the shape of the cell.
    # CAMs are taken one stage earlier: at the end a crop of 40 pixels has 5 x 5 positions.
    "cell_cnn": NetworkEntry(
        _small_cnn((1, 2, 2, 2), (16, 32, 64, 128)), "features.6", early_layer="features.1"
    ),
    # The stages of cell_cnn for each stain by itself: a backbone for any stains.
    "stain_cnn": NetworkEntry(_stain_cnn, "features.6", early_layer="features.1"),
    "densenet121": NetworkEntry(_densenet("DenseNet121"), "class_layers.relu"),
    "densenet169": NetworkEntry(_densenet("DenseNet169"), "class_layers.relu"),
    "resnet18": NetworkEntry(_resnet("resnet18"), "layer4", early_layer="layer1"),
    "resnet34": NetworkEntry(_resnet("resnet34"), "layer4", early_layer="layer1"),
    "resnet50": NetworkEntry(_resnet("resnet50"), "layer4"),
    "seresnet50": NetworkEntry(_seresnet50, "layer4"),
    # One activation module serves the last convolution and the stem: its last call counts.
    "efficientnet_b0": NetworkEntry(_efficientnet_b0, "_swish"),
    "tv_resnet18": NetworkEntry(_torchvision("resnet18", "conv1"), "layer4", (2,)),
    "tv_resnet50": NetworkEntry(_torchvision("resnet50", "conv1"), "layer4", (2,)),
    "tv_convnext_tiny": NetworkEntry(
        _torchvision("convnext_tiny", "features.0.0"), "features", (2,)
    ),
    "tv_efficientnet_b0": NetworkEntry(
        _torchvision("efficientnet_b0", "features.0.0"), "features", (2,)
    ),
    # Of the last block of a transformer with a class token only this token is read.
    "timm/vit_small_patch16_224": NetworkEntry(
        _timm("timm/vit_small_patch16_224"), "network.blocks.10", (2,)
    ),
    "timm/swin_tiny_patch4_window7_224": NetworkEntry(
        _timm("timm/swin_tiny_patch4_window7_224"), "network.norm", (2,)
    ),
    "timm/convnext_tiny": NetworkEntry(_timm("timm/convnext_tiny"), "network.norm_pre", (2,)),
}
