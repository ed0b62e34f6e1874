"""Class scores in what a network returns: tensors, tuples, dictionaries, probabilities, maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cellcam.explain.scores import Link

# An item of a tuple or dictionary, by number or name; or a function of what the network returns.
OutputChoice = int | str | Callable[[Any], Tensor] | None

_LINKS: dict[Callable[..., Tensor], Link] = {
    **dict.fromkeys((torch.softmax, functional.softmax, Tensor.softmax), "softmax"),
    **dict.fromkeys((torch.log_softmax, functional.log_softmax, Tensor.log_softmax), "softmax"),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid, Tensor.sigmoid), "sigmoid"),
    **dict.fromkeys((functional.logsigmoid,), "sigmoid"),
}


class Ending(TorchFunctionMode):
    """Within it, the last softmax or sigmoid is remembered: it may be the network's last step."""

    def __init__(self) -> None:
        super().__init__()
        self._given: object = None
        self._result: object = None
        self.link: Link = "softmax"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _LINKS:
            self._given = args[0] if args else kwargs.get("input")
            self._result, self.link = result, _LINKS[func]
        return result

    def in_front_of(self, returned: Tensor) -> Tensor | None:
        """Input of the softmax or sigmoid of which ``returned`` is the result; None without one."""
        if returned is self._result and isinstance(self._given, Tensor):
            return self._given
        return None


@dataclass(frozen=True)
class Output:
    """How class scores are read from what the network returns; made by `find_output`."""

    item: OutputChoice = None  # None: the network returns a tensor
    link: Link = "softmax"
    in_front: bool = False  # scores are the input of the softmax or sigmoid that ends the network
    region: Tensor | None = None  # (*space) mask of the mean of maps of scores; None: everywhere
    description: str = "logits"

    def scores(self, returned: object, n_images: int, ending: Ending | None) -> Tensor:
        """Scores (N, n_classes); of a single logit z its negative and itself, (-z, z)."""
        found = _item(returned, self.item)
        if self.in_front and ending is not None:
            logits = ending.in_front_of(found)
            found = found if logits is None else logits
        scores = _by_class(found, n_images, self.region)
        return torch.cat([-scores, scores], 1) if scores.shape[1] == 1 else scores


def find_output(
    returned: object, ending: Ending, choice: OutputChoice, region: Tensor | None
) -> Output:
    """Find the class scores in what the network returned for one image.

    Raises
    ------
    ValueError
        If there are several candidates, or none; the message names them.
    """
    item = _sole_item(returned) if choice is None else choice
    found = _item(returned, item)
    if region is not None and found.ndim < 3:
        raise ValueError("region= is for networks that return maps of scores; this one does not.")
    logits = ending.in_front_of(found)
    link: Link = "softmax" if logits is None else ending.link
    scores = _by_class(found if logits is None else logits, 1, region)
    words = ["logits" if logits is None else f"logits in front of the network's {link}"]
    if scores.shape[1] == 1:
        link, words = "sigmoid", [f"{words[0]}, one for class 1; class 0 is its negative"]
    elif logits is None and _are_probabilities(scores):
        link, words = "probability", ["probabilities"]
    if found.ndim > 2:
        words.append("mean of the region" if region is not None else "mean of all positions")
    if item is not None:
        words.append(f"output {getattr(item, '__name__', repr(item))}")
    return Output(item, link, logits is not None, region, ", ".join(words))


def items_of(returned: object) -> dict[int | str, object]:
    """Items of a tuple, list or dictionary by number or name."""
    if isinstance(returned, Mapping):
        return dict(returned)
    return dict(enumerate(returned)) if isinstance(returned, tuple | list) else {}


def _item(returned: object, choice: OutputChoice) -> Tensor:
    """The tensor that is chosen."""
    items = items_of(returned)
    if callable(choice):
        found: object = choice(returned)
    elif choice is None:
        found = returned
    else:
        found = items.get(choice)
    if isinstance(found, Tensor):
        return found
    if items:
        raise ValueError(f"output={choice!r} is no tensor. {_choices(items)}")
    what = type(found if choice is None or callable(choice) else returned).__name__
    raise ValueError(
        f"The network must return class scores of shape (N, n_classes), not {what}. A function as "
        "output= can find them."
    )


def _sole_item(returned: object) -> OutputChoice:
    """The only item that can be class scores; None where the network returns a tensor."""
    if isinstance(returned, Tensor) or not (items := items_of(returned)):
        return None
    tensors = {name: item for name, item in items.items() if isinstance(item, Tensor)}
    by_axes = [name for name, item in tensors.items() if item.ndim == 2 and len(item) == 1]
    names = by_axes or [name for name, item in tensors.items() if item.ndim > 3]
    if len(names) == 1:
        return names[0]
    problem = "several outputs that may be" if names else "no output that can be"
    raise ValueError(f"The network returns {problem} class scores. {_choices(items)}")


def _choices(items: dict[int | str, object]) -> str:
    named = [
        f"{name!r} {tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__}"
        for name, item in items.items()
    ]
    return f"Choose output= among: {', '.join(named)}."


def _by_class(found: Tensor, n_images: int, region: Tensor | None) -> Tensor:
    """Scores (N, n_classes) of (N,), (N, n_classes) or (N, n_classes, *space)."""
    if found.ndim in (1, 2) and len(found) == n_images:
        return found.view(n_images, -1)
    if found.ndim < 3 or len(found) != n_images:
        raise ValueError(
            "The network must return class scores of shape (N, n_classes), not "
            f"{tuple(found.shape)} for {n_images} images."
        )
    if region is None:
        return found.flatten(2).mean(2)
    if region.shape != found.shape[2:]:
        raise ValueError(
            f"region of shape {tuple(region.shape)} does not fit the network's maps of scores, "
            f"{tuple(found.shape[2:])}."
        )
    inside = region.to(found)
    return (found * inside).flatten(2).sum(2) / inside.sum()


def _are_probabilities(scores: Tensor) -> bool:
    """Whether numbers of one image, (1, n_classes), are between 0 and 1 and add up to 1."""
    return bool((scores >= 0).all() and (scores.sum(1) - 1).abs().max() < 1e-4)


def check_region(region: Tensor | None, x: Tensor) -> None:
    """Raise `ValueError` if a region is empty, or fits neither all images nor each of them."""
    if region is None:
        return
    by_image = region.ndim == x.ndim - 1 and len(region) == len(x)
    if not by_image and region.ndim != x.ndim - 2:
        raise ValueError(
            f"region of shape {tuple(region.shape)} must be (*space), or (N, *space) with a mask "
            f"for each of {len(x)} images."
        )
    if not all(mask.any() for mask in (region if by_image else [region])):
        raise ValueError("region is empty: it must be true somewhere, for each image.")
