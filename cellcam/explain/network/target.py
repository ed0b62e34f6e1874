"""Where a network is split: the layer, its layout, and the class scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cellcam.explain.network.dependence import Sample, differentiable, passes_all
from cellcam.explain.network.execution import Execution, usual_execution
from cellcam.explain.network.layouts import (
    Layout,
    LayoutChoice,
    check_layout_choice,
    possible_layouts,
)
from cellcam.explain.network.outputs import OutputChoice, find_output
from cellcam.explain.network.recognition import is_channels_first, recognised
from cellcam.explain.network.splitting import (
    SplitNetwork,
    at_least_float32,
    left_as_it_was,
    unwrapped,
)
from cellcam.explain.network.tracing import Run, Trace, traced

Layer = str | nn.Module

_MOST_TRIED = 64  # layers, from the last one on


@dataclass(frozen=True)
class Target:
    """What a caller says about a network; None is found out."""

    layer: Layer | None = None  # name of a submodule, or the submodule
    layout: LayoutChoice = None
    output: OutputChoice = None
    region: Tensor | None = None  # (*space) mask, where scores are maps


def split_network(network: nn.Module, target: Target, example: Tensor) -> SplitNetwork:
    """Split a network, in evaluation mode, at a layer.

    Without a layer it is split at the last one with space that the scores depend on and that
    nothing bypasses; where there is none, at the last one that they depend on.

    Parameters
    ----------
    example : (N, C, *spatial) tensor; its first image is run

    Raises
    ------
    ValueError
        If the layer does not exist, does not run, or has no clear layout; if the scores do not
        depend on it; if class scores are not found.
    """
    check_layout_choice(target.layout)
    network = unwrapped(network)
    device = next((p.device for p in network.parameters()), example.device)
    dtypes = {p.dtype for p in network.parameters() if p.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    x = example[:1].to(device, dtype or example.dtype)
    trace = traced(network, x)
    output = find_output(trace.returned, trace.ending, target.output, target.region)
    sample = Sample(x, at_least_float32(output.scores(trace.returned, 1, trace.ending)))
    usual = usual_execution(lambda way: _run(network, x, way), device)
    # The layer and its layout are filled in.
    nowhere = Layout("none", x.shape[2:], 1, lambda output: output)
    split = SplitNetwork(
        network, "", 1, device, dtype, nowhere, output, sample.scores.shape[1], execution=usual
    )
    if target.layer is None:
        return _at_last_layer(split, trace, target, sample)
    return _at_layer(split, trace, target, sample)


def spatial_layers(network: nn.Module, example: Tensor) -> dict[str, torch.Size]:
    """Submodules whose last output is (N, C, *space), in the order in which they finish.

    Parameters
    ----------
    example : (N, C, *spatial) tensor; its first image is run

    Returns
    -------
    spatial shape of the output, which is that of a convolution, too, by the submodule's name
    """
    network = unwrapped(network)
    with left_as_it_was(network):
        trace = traced(network, example[:1])
    convolved = _convolved(network, trace)
    found: dict[str, torch.Size] = {}
    for run in trace.runs:
        if run.shape in convolved and run.shape[2:].numel() > 1:
            found.pop(run.name, None)
            found[run.name] = run.shape[2:]
    return found


def _at_layer(split: SplitNetwork, trace: Trace, target: Target, sample: Sample) -> SplitNetwork:
    """Split at the last run with space of the layer that is named."""
    assert target.layer is not None
    name = _name_of(split.network, target.layer)
    runs = [run for run in trace.runs if run.name == name]
    if not runs:
        raise ValueError(_why_no_tensor(split.network, trace, name))
    run = next((run for run in reversed(runs) if _may_have_places(run, trace, sample.x)), runs[-1])
    here = _at(split, run)
    return _recognised(here, trace, target, sample, here.activations(sample.x))


def _at_last_layer(
    split: SplitNetwork, trace: Trace, target: Target, sample: Sample
) -> SplitNetwork:
    """Split at the last layer that the scores depend on; see `split_network`."""
    bypassed, doubts = [], ["no output has several positions"]
    for run in _last_runs(trace, sample.x)[:_MOST_TRIED]:
        here = _at(split, run)
        output = here.activations(sample.x)
        if not _passes_all(here, sample, output):
            bypassed.append(here)
            continue
        try:
            return _recognised(here, trace, target, sample, output)
        except ValueError as doubt:
            doubts.append(str(doubt))
    for here in bypassed:
        try:
            return _recognised(here, trace, target, sample, here.activations(sample.x))
        except ValueError as doubt:
            doubts.append(str(doubt))
    raise ValueError(
        "The network has no layer with spatial extent that its scores depend on: "
        f"{doubts[-1].rstrip('.')}. Name one in target_layers.{_hint(split.network)}"
    )


def _recognised(
    split: SplitNetwork, trace: Trace, target: Target, sample: Sample, output: Tensor
) -> SplitNetwork:
    """The network with its layout, and with gradients."""
    convolved = _convolved(split.network, trace)
    known = recognised(split, sample.x, output, target.layout, trace.shapes, convolved)
    known = differentiable(known, sample, output)
    return replace(known, closed=known.layout.n_others > 0 and _passes_all(known, sample, output))


def _convolved(network: nn.Module, trace: Trace) -> set[torch.Size]:
    """Shapes of outputs of convolutions and the like, whose features come before their places."""
    modules = dict(network.named_modules())
    return {run.shape for run in trace.runs if is_channels_first(modules[run.name])}


def _last_runs(trace: Trace, x: Tensor) -> list[Run]:
    """The last run with space of each submodule, the last one first, but the scores themselves."""
    scores = trace.ends()
    found: dict[str, Run] = {}
    for run in reversed(trace.runs):
        if _may_have_places(run, trace, x) and not any(run.output() is end for end in scores):
            found.setdefault(run.name, run)
    return list(found.values())


def _may_have_places(run: Run, trace: Trace, x: Tensor) -> bool:
    return bool(possible_layouts(run.shape, x.shape, trace.shapes))


def _at(split: SplitNetwork, run: Run) -> SplitNetwork:
    return replace(split, layer_name=run.name, run=run.number)


def _passes_all(split: SplitNetwork, sample: Sample, output: Tensor) -> bool:
    try:
        return passes_all(split, sample, output)
    except (RuntimeError, ValueError):
        return False


def _run(network: nn.Module, x: Tensor, way: Execution) -> None:
    with torch.no_grad(), way.active(x.device):
        network(way.laid_out(x))


def _name_of(network: nn.Module, layer: Layer) -> str:
    """Name of a submodule; of several names the first, under which its runs are noted."""
    modules = dict(network.named_modules(remove_duplicate=False))
    module = layer if isinstance(layer, nn.Module) else modules.get(layer)
    name = next((name for name, other in modules.items() if other is module), None)
    if name is not None:
        return name
    if isinstance(layer, nn.Module):
        raise ValueError(f"The {type(layer).__name__} given as target layer is not in the network.")
    last = ", ".join([name for name in modules if name][-8:])
    raise ValueError(f"The network has no layer {layer!r}. Its last layers are: {last}.")


def _why_no_tensor(network: nn.Module, trace: Trace, name: str) -> str:
    if name in trace.returns:
        what = trace.returns[name][-1]
        return f"Layer {name!r} returns a {what}. Choose one inside it, of one tensor."
    return f"Layer {name!r} does not run in the forward pass. Choose another.{_hint(network)}"


def _hint(network: nn.Module) -> str:
    """What may be the reason that layers are not seen."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        return " Layers inside TorchScript cannot be seen: pass the module that it was made from."
    return ""
