"""The score that is explained: a class's logit, its probability or the logarithm of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Score = Literal["logit", "probability", "log_probability"]
# From what is read off the network to probabilities; "probability": they are already.
Link = Literal["softmax", "sigmoid", "probability"]
ClassIndex = int | Sequence[int] | Tensor | Literal["all"] | None


def class_scores(score: Score, logits: Tensor, link: Link = "softmax") -> Tensor:
    """Scores (N, n_classes) of logits (N, n_classes).

    Raises
    ------
    ValueError
        If logits are asked for where only probabilities are known.
    """
    if link == "probability":
        if score == "logit":
            raise ValueError(
                "The network returns probabilities, and its logits are not seen. Choose "
                "score='probability' or 'log_probability', or leave the softmax out of it."
            )
        return logits if score == "probability" else logits.log()
    if score == "logit":
        return logits
    if link == "sigmoid":
        return logits.sigmoid() if score == "probability" else logsigmoid(logits)
    return logits.softmax(1) if score == "probability" else logits.log_softmax(1)


def gradients(
    scores: Tensor, classes: Tensor, leaf: Tensor, arranged: Callable[[Tensor], Tensor]
) -> Tensor:
    """Gradients (N, K, C, U) of the scores of ``classes`` by ``leaf``.

    Parameters
    ----------
    scores : (N, n_classes) tensor that depends on the leaf, image by image
    classes : (N, K) int64 tensor
    leaf : tensor of N images
    arranged : from a tensor like the leaf to (N, C, U)
    """
    with torch.enable_grad():
        chosen = scores.gather(1, classes).sum(0).unbind()
    by_class = []
    for k, score in enumerate(chosen):
        (gradient,) = torch.autograd.grad(
            score, leaf, retain_graph=k < len(chosen) - 1, materialize_grads=True
        )
        by_class.append(arranged(gradient).mT)
    if by_class[0].is_contiguous():  # the channels lie innermost: no rearranging
        return torch.stack(by_class, 1).mT
    return torch.stack([gradient.mT for gradient in by_class], 1)


def check_class_idx(class_idx: ClassIndex, n_images: int) -> None:
    """Raise `ValueError` if classes given image by image do not fit the images."""
    if not isinstance(class_idx, Tensor) or not class_idx.ndim:
        return
    if len(class_idx) != n_images or class_idx.ndim > 2:
        raise ValueError(
            f"class_idx of shape {tuple(class_idx.shape)} does not fit {n_images} images: "
            "a tensor gives classes image by image, (N,) or (N, K)."
        )


def n_classes(class_idx: ClassIndex) -> int | None:
    """Number of classes of each image that ``class_idx`` asks for; None for all of them."""
    if isinstance(class_idx, Tensor):
        return class_idx.shape[-1] if class_idx.ndim > 1 else 1
    if class_idx == "all":
        return None
    return len(class_idx) if isinstance(class_idx, Sequence) else 1


def class_idx_of(class_idx: ClassIndex, images: slice) -> ClassIndex:
    """The part of ``class_idx`` that belongs to some of the images."""
    return class_idx[images] if isinstance(class_idx, Tensor) and class_idx.ndim else class_idx


def select_classes(class_idx: ClassIndex, logits: Tensor) -> Tensor:
    """Classes to explain for each image, (N, K) int64, of logits (N, n_classes).

    Raises
    ------
    ValueError
        If a class does not exist.
    """
    n_images, n_classes = logits.shape
    if class_idx is None:
        return logits.argmax(1, keepdim=True)
    if isinstance(class_idx, str):
        if class_idx != "all":
            raise ValueError(f"class_idx={class_idx!r} is unknown; the only word is 'all'.")
        class_idx = range(n_classes)
    classes = torch.as_tensor(class_idx, device=logits.device).to(torch.int64)
    by_image = isinstance(class_idx, Tensor) and class_idx.ndim
    classes = classes.view(n_images, -1) if by_image else classes.reshape(1, -1)
    if classes.numel() == 0 or classes.min() < 0 or classes.max() >= n_classes:
        raise ValueError(f"class_idx must lie between 0 and {n_classes - 1}; got {class_idx!r}.")
    return classes.expand(n_images, -1)
