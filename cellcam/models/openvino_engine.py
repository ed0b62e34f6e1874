"""OpenVINO as the engine of calls: the network converted in memory, compiled for the CPU."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from cellcam.explain.memory import Batches, slices
from cellcam.models.engine import Engine, facts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

# Largest difference of a probability from torch's on the crops of the trial.
_TOLERANCE = 1e-5
# Crops of a pass, the last one filled up: faster than one by one, and no slower than more.
_CROPS = 8
# Passes of a thread for each call, so that it does not wait between them.
_PASSES = 4


class OpenVinoEngine:
    """A network on the CPU, computed by OpenVINO.

    Each pass takes `_CROPS` crops on one thread, and as many passes run at once as torch has
    threads. So the scores of a crop depend neither on the crops beside it nor on the number of
    threads. When weights or torch's number of threads change, the network is converted anew.

    Parameters
    ----------
    network : in evaluation mode, on the CPU; left as it is
    input_shape : (C, *crop_size)
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]) -> None:
        import torch

        self.facts = facts_of("openvino")
        self.batches = Batches(_CROPS * _PASSES * torch.get_num_threads())
        self._network, self._input_shape = network, input_shape
        self._made_for: object = None
        self._queue: tuple[Any, int] | None = None
        self._turn = threading.Lock()

    def scores(self, x: Tensor) -> Tensor:
        """See `Engine`."""
        import torch

        crops = np.ascontiguousarray(x.numpy())
        with self._turn:
            queue, n_classes = self._ready_queue()
            scores = np.empty((len(crops), n_classes), np.float32)
            for part in slices(len(crops), _CROPS):
                # Copied: a shared array would be read after Python had given its memory away.
                queue.start_async([_filled_up(crops[part])], scores[part], share_inputs=False)
            queue.wait_all()
        return torch.from_numpy(scores)

    def _ready_queue(self) -> tuple[Any, int]:
        """The compiled network's queue of passes, and the number of classes."""
        import torch

        threads = torch.get_num_threads()
        tensors = [*self._network.parameters(), *self._network.buffers()]
        made_for = threads, [(id(tensor), tensor._version) for tensor in tensors]
        if self._queue is None or made_for != self._made_for:
            self._queue = None  # gives its memory back before more is asked for
            self._queue = _compiled(self._network, self._input_shape, threads)
            self._made_for = made_for
        return self._queue


def why_not(
    engine: OpenVinoEngine, torch_engine: Engine, input_shape: tuple[int, ...], temperature: float
) -> str:
    """What is wrong with the engine's probabilities of random crops; empty if nothing is."""
    import torch

    generator = torch.Generator().manual_seed(0)
    crops = torch.randn(_CROPS, *input_shape, generator=generator)
    with torch.inference_mode():
        scores, expected = engine.scores(crops), torch_engine.scores(crops)
        others = engine.scores(crops[_CROPS // 2 :])
    ours, theirs = ((each / temperature).softmax(1) for each in (scores, expected))
    difference = float((ours - theirs).abs().max())
    if not difference < _TOLERANCE:
        return f"its probabilities differ from torch's by {difference:.1e}"
    if not torch.equal(scores[_CROPS // 2 :], others):
        return "the scores of a cell depend on the cells beside it"
    return ""


def _compiled(network: nn.Module, input_shape: tuple[int, ...], threads: int) -> tuple[Any, int]:
    """Queue of as many passes at once as threads, and the number of classes."""
    import torch

    openvino = _openvino()
    example = torch.zeros(_CROPS, *input_shape)
    with _quiet(), torch.inference_mode(False), torch.no_grad():
        # Of a copy, because modules are patched; with weights of its own, for the copy goes away.
        model = openvino.convert_model(
            deepcopy(network), example_input=example, share_weights=False
        )
    model.reshape([_CROPS, *input_shape])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # it might choose bfloat16 by itself
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # all workers of a batch would choose the same cores
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled, threads)
    queue.set_callback(_copy_scores)
    return queue, int(compiled.output(0).shape[1])


def _copy_scores(request: Any, scores: NDArray[np.float32]) -> None:
    scores[:] = request.get_output_tensor().data[: len(scores)]


def _filled_up(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """The crops, and zeros up to the crops of a pass."""
    missing = _CROPS - len(crops)
    return np.pad(crops, [(0, missing)] + [(0, 0)] * (crops.ndim - 1)) if missing else crops


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, what tracing says about the network's code and its own future is not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _openvino() -> Any:
    """OpenVINO, without the package that reports every import of it to its makers."""
    name = "openvino_telemetry"
    hidden = not {"openvino", name} & set(sys.modules)
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it fails
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[name]
    return openvino
