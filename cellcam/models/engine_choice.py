"""Choice of the engine of calls: torch, or OpenVINO where that is installed and agrees with it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from cellcam.errors import UsageError
from cellcam.models.engine import Engine, TorchEngine, facts_of

if TYPE_CHECKING:
    import torch
    from torch import nn

EngineName = Literal["auto", "torch", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# Networks of which whole calls were not surely 1.1 times as fast on one core.
_HARDLY_FASTER = ("resnet18", "resnet34", "tv_resnet18")
# Smaller images hold fewer cells than pay for the conversion of a network.
_WORTHWHILE_BYTES = 2**30
_INSTALL = 'Install it with: pip install "cellcam[openvino]"'


def check_engine(engine: str) -> EngineName:
    """The name of an engine that this process has; "auto" always.

    Raises
    ------
    UsageError
        If there is no such engine, or its package is not installed.
    """
    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}. Choose one of {', '.join(ENGINES)}.")
    if engine == "openvino" and not is_installed():
        raise UsageError(f"The engine openvino needs OpenVINO, which is not installed. {_INSTALL}")
    return engine


def is_installed() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return find_spec("openvino") is not None


def why_not_faster(network: str) -> str:
    """Why "auto" does not choose OpenVINO here for a network of the registry; empty if it does.

    A rule, not a trial of speed: on a busy machine two runs of one command could choose
    differently, and would not give the same bytes.
    """
    import torch

    if network in _HARDLY_FASTER:
        return f"OpenVINO is hardly faster with {network}"
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return ""
    return "OpenVINO was measured to be faster with AVX-512 only, which this processor lacks"


def engine_for(engine: str, n_bytes: int) -> EngineName:
    """Engine for images of so many bytes: of few, "auto" is torch, which needs no conversion.

    Raises
    ------
    UsageError
        See `check_engine`.
    """
    known = check_engine(engine)
    return "torch" if known == "auto" and n_bytes < _WORTHWHILE_BYTES else known


def choose_engine(
    engine: str,
    network: nn.Module,
    device: torch.device,
    input_shape: tuple[int, ...],
    temperature: float,
    name: str = "",
) -> Engine:
    """Engine by name, for a network in evaluation mode.

    ``"auto"`` is OpenVINO where it is installed, the device is the CPU, it was faster with this
    network on this kind of processor, and it computes what torch computes on a few crops; else
    torch, with a reason.

    Parameters
    ----------
    input_shape : (C, *crop_size)
    temperature : divides the scores before softmax
    name : of the network in the registry, which "auto" asks for

    Raises
    ------
    UsageError
        If the engine that was asked for by name cannot be used, with the reason.
    """
    known = check_engine(engine)
    torch_engine = TorchEngine(network, device, input_shape)
    if known == "torch":
        return torch_engine
    slow = why_not_faster(name) if known == "auto" and is_installed() else ""
    tried = slow or _openvino(torch_engine, network, device, input_shape, temperature)
    if not isinstance(tried, str):
        return tried
    if known != "auto":
        raise UsageError(f"The engine openvino cannot be used: {tried}. Use --engine torch.")
    torch_engine.facts = facts_of("torch", tried)
    return torch_engine


def _openvino(
    torch_engine: TorchEngine,
    network: nn.Module,
    device: torch.device,
    input_shape: tuple[int, ...],
    temperature: float,
) -> Engine | str:
    """The engine, or the reason why it cannot be used."""
    if not is_installed():
        return "OpenVINO is not installed"
    if device.type != "cpu":
        return f"OpenVINO is for the CPU, the device is {device}"
    try:
        from cellcam.models.openvino_engine import OpenVinoEngine, why_not

        made = OpenVinoEngine(network, input_shape)
        return why_not(made, torch_engine, input_shape, temperature) or made
    except Exception as error:  # noqa: BLE001 - conversion can fail in any way
        return f"OpenVINO cannot run the network ({type(error).__name__}: {_first_line(error)})"


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no message")[:200]
