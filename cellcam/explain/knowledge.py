"""What running a network a few times shows about it, before anything is explained."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cellcam.explain.classes_at_once import runs_quietly
from cellcam.explain.execution import Precision, automatic_batch_size, fastest_execution
from cellcam.explain.heads import HeadOfMeans, agree, head_of_means
from cellcam.explain.splitting import SplitNetwork
from cellcam.explain.walking import Walker

# Gradients held at once, where each position of a layer has its own.
_MOST_GRADIENTS = 2**26


@dataclass(frozen=True)
class Known:
    """What is known about a network at a layer, for inputs of one shape.

    Attributes
    ----------
    weights : `fingerprint` of the network when this was found out
    split : trunk and head
    head : the head as a function of mean activations, where it is one
    batch : how many images to run at once
    remembered : what a single baseline image gave, by formula
    """

    weights: object
    split: SplitNetwork
    head: HeadOfMeans | None
    batch: int
    remembered: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def batch_for(self, n_classes: int | None) -> int:
        """Batch size at which the gradients of so many classes (None: of all) still fit."""
        if self.head is not None:
            return self.batch
        gradients = self.split.features * self.split.map_shape.numel()
        gradients *= n_classes or self.split.n_classes
        return max(1, min(self.batch, _MOST_GRADIENTS // gradients))


def found_out(
    network: nn.Module,
    layer: str | nn.Module | None,
    x: Tensor,
    precision: Precision,
    trial_size: int | None,
) -> Known:
    """What a network is at ``layer``, found by running it on images of ``x``.

    Parameters
    ----------
    trial_size : images in a pass that is timed for ``precision="auto"``, if they are given
    """
    weights = fingerprint(network)
    split = SplitNetwork(network, layer, x[:1])
    head = head_of_means(split, x[:1])
    split.pooled = head is not None
    if head is None:
        _differentiate_at_once_if_possible(split, x[:1])
    batch = automatic_batch_size(split.scores, x, split.device)
    if precision == "auto":
        trial = x[: trial_size or batch]
        split.execution = fastest_execution(
            lambda way: split.scores(trial, way), split.device, split.execution
        )
    return Known(weights, split, head, batch)


def fingerprint(network: nn.Module) -> object:
    """Changes with every weight: by torch's count of changes in place, and by their norm.

    The count alone misses what is written through ``.data``.
    """
    tensors = [*network.parameters(), *network.buffers()]
    norm = nn.utils.get_total_norm([t.detach() for t in tensors if t.is_floating_point()])
    return tuple((id(tensor), tensor._version) for tensor in tensors), float(norm)


def _differentiate_at_once_if_possible(split: SplitNetwork, x: Tensor) -> None:
    """Differentiate the head for all classes at once, if that gives what class by class gives."""
    walker = Walker(split, None, "logit", 1, lambda: None, {}, means_only=True)
    expected = walker.at_input(x, "all").point.weights[0]
    split.at_once = True
    if not runs_quietly(lambda: _look_at_leaves(split, x)):
        split.at_once = False
        return
    found: list[Tensor] = []
    quiet = runs_quietly(lambda: found.append(walker.at_input(x, "all").point.weights[0]))
    split.at_once = quiet and agree(found[0], expected)


def _look_at_leaves(split: SplitNetwork, x: Tensor) -> None:
    """Find out whether the head takes the activations only through 1 x 1 convolutions."""
    passed = split.scores(x, means_only=True)
    first = passed.leaves[0].values
    with torch.enable_grad():
        total = passed.scores.sum()
    (gradient,) = torch.autograd.grad(total, first, allow_unused=True)
    split.head_sees_activations = gradient is not None
