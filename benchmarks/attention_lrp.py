"""AttnLRP (Achtibat et al., ICML 2024) of torchvision's ViT, for the evidence alone.

Relevance is gradient times input in a network with another backward pass: the spread of a layer
norm is a constant, a GELU is a factor, and the two inputs of a product of matrices get half each.
Written after the paper. The library, lxt, was not taken: it brings transformers, bitsandbytes and
open_clip, changes `torch.nn` for the whole process, and has for this network only a variant that
stops at queries and keys (``through_queries=False`` here). Its licence grants no patent rights, so
this stays out of the package.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer

from cellcam.evaluate.method import Method, upsampled


class _LayerNorm(nn.Module):
    """A layer norm whose spread is a constant to the gradient."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        spread = (x.var(-1, unbiased=False, keepdim=True) + self.norm.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / spread * self.norm.weight + self.norm.bias


class _GELU(nn.Module):
    """A GELU that passes relevance on as it is."""

    def forward(self, x: Tensor) -> Tensor:
        safe = torch.where(x.abs() < 1e-6, 1e-6, x)
        return x * (functional.gelu(safe) / safe).detach()


class _Attention(nn.Module):
    """An attention in which each factor of a product gets half of the relevance."""

    def __init__(self, attention: nn.MultiheadAttention, through_queries: bool) -> None:
        super().__init__()
        self.attention, self.through_queries = attention, through_queries

    def forward(self, x: Tensor, *_args: Tensor, **_options: bool) -> tuple[Tensor, None]:
        own = self.attention
        by_head = functional.linear(x, own.in_proj_weight, own.in_proj_bias)
        by_head = by_head.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = by_head
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        if self.through_queries:
            seen = half(torch.softmax(half(scores), -1) @ values)
        else:
            seen = torch.softmax(scores, -1).detach() @ values
        return own.out_proj(seen.transpose(1, 2).flatten(2)), None


def half(x: Tensor) -> Tensor:
    """The same values; half of the gradient."""
    return (x + x.detach()) / 2


def with_relevance(network: VisionTransformer, through_queries: bool) -> VisionTransformer:
    """A copy with the same scores, in which gradient times input is relevance."""
    copied = copy.deepcopy(network).eval()
    for name, module in list(copied.named_modules()):
        if isinstance(module, nn.LayerNorm):
            copied.set_submodule(name, _LayerNorm(module))
        elif isinstance(module, nn.GELU):
            copied.set_submodule(name, _GELU())
        elif isinstance(module, nn.MultiheadAttention):
            copied.set_submodule(name, _Attention(module, through_queries))
    return copied


def relevance_of_tokens(
    network: VisionTransformer, x: Tensor, classes: Tensor, through_queries: bool = True
) -> Tensor:
    """Relevance (N, y, x) of the tokens of places as they enter the first block."""
    changed, kept = with_relevance(network, through_queries), []
    changed.encoder.dropout.register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.enable_grad():
        scores = changed(x.clone().requires_grad_())
        chosen = scores.gather(1, classes[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, kept[0])
    relevance = (kept[0].detach() * gradients).sum(-1)[:, 1:]
    grid = tuple(length // network.patch_size for length in x.shape[2:])
    return relevance.unflatten(1, grid)


def attention_lrp(network: VisionTransformer, through_queries: bool = True) -> Method:
    """AttnLRP, or its variant CP-LRP that does not go through queries and keys."""
    name = "AttnLRP" if through_queries else "CP-LRP (the variant of lxt)"

    def maps(x: Tensor, classes: Tensor) -> Tensor:
        return upsampled(relevance_of_tokens(network, x, classes, through_queries), x)

    return Method(name, "benchmark", maps)
