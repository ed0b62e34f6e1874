"""The networks by name, from MONAI and torchvision, each with the layer that is explained.

A model folder can only name networks of this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cellcam.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

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
    cam_layer : name of the layer of Grad-CAM and its rivals: the last one whose maps are fine
        enough
    spatial_dims : 2, 3, or both
    early_layer : name of the layer of CellCam's explanations, where that is an earlier one:
        docs/decisions/0013
    """

    build: _Builder
    cam_layer: str
    spatial_dims: tuple[int, ...] = (2, 3)
    early_layer: str | None = None

    @property
    def target_layer(self) -> str:
        """Name of the layer of CellCam's explanations."""
        return self.early_layer or self.cam_layer


def network_names(spatial_dims: int | None = None) -> list[str]:
    """Names of all networks, or of those for 2-D or 3-D crops."""
    return [
        n for n, e in _NETWORKS.items() if spatial_dims is None or spatial_dims in e.spatial_dims
    ]


def network_entry(name: str) -> NetworkEntry:
    """Registry entry of a name; `UsageError` lists the names that exist."""
    if name not in _NETWORKS:
        raise UsageError(f"There is no network {name!r}. Choose one of {', '.join(_NETWORKS)}.")
    return _NETWORKS[name]


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
}
