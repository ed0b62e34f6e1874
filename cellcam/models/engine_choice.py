"""Choice of the engine of calls: torch, or OpenVINO where it is asked for and agrees with torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from cellcam.errors import UsageError, how_to_install
from cellcam.models.engine import Engine, TorchEngine

if TYPE_CHECKING:
    import torch
    from torch import nn

EngineName = Literal["torch", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def check_engine(engine: str) -> EngineName:
    """The name of an engine that is installed in this process.

    Raises
    ------
    UsageError
        If there is no such engine, or its package is not installed.
    """
    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}. Choose one of {', '.join(ENGINES)}.")
    if engine == "openvino" and not is_installed():
        raise UsageError(
            "The engine openvino needs OpenVINO, which is not installed. Install it with: "
            f"{how_to_install('openvino')}."
        )
    return engine


def is_installed() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return find_spec("openvino") is not None


def choose_engine(
    engine: str,
    network: nn.Module,
    device: torch.device,
    input_shape: tuple[int, ...],
    temperature: float,
) -> Engine:
    """Engine by name, for a network in evaluation mode.

    Parameters
    ----------
    input_shape : (C, *crop_size)
    temperature : divides the scores before softmax

    Raises
    ------
    UsageError
        If the engine cannot be used, with the reason: OpenVINO needs its package, a network on the
        CPU that it can convert, and computes what torch computes on a few crops.
    """
    known = check_engine(engine)
    torch_engine = TorchEngine(network, device, input_shape)
    if known == "torch":
        return torch_engine
    tried = _openvino(torch_engine, network, device, input_shape, temperature)
    if isinstance(tried, str):
        raise UsageError(f"The engine openvino cannot be used: {tried}. Use --engine torch.")
    return tried


def _openvino(
    torch_engine: TorchEngine,
    network: nn.Module,
    device: torch.device,
    input_shape: tuple[int, ...],
    temperature: float,
) -> Engine | str:
    """The engine, or the reason why it cannot be used."""
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
