"""What runs the items of a batch: this process, a cluster of this machine, or one that exists."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cellcam.errors import StoppedError, UsageError
from cellcam.versions import code_version

if TYPE_CHECKING:
    from distributed import Client

_T = TypeVar("_T")
# Reading and finding of one item go on while another is at the network.
_THREADS = 2
_WAIT_FOR_WORKERS_S = 300


class HereExecutor(Executor):
    """Runs everything at once, in the calling thread: for debugging."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run, then return."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


@contextmanager
def engine(scheduler: str | None, workers: int | None, shared: Path) -> Iterator[Executor]:
    """An executor for items.

    Parameters
    ----------
    scheduler : None for workers on this machine, ``"sync"`` for none, ``"threads"`` for this
        process, else the address of a Dask scheduler, or the file that it wrote
    workers : on this machine; by default one for each GPU, or for each core without one
    shared : folder of the results, which all workers must see

    Raises
    ------
    UsageError
        If a scheduler cannot be reached, or its workers run other code or see other files.
    """
    if scheduler == "sync":
        yield HereExecutor()
    elif scheduler == "threads":
        with ThreadPoolExecutor(_THREADS) as pool:
            yield pool
    else:
        with _client(scheduler, workers, shared / "parts" / "dask") as client:
            _check_workers(client, shared)
            yield client.get_executor(pure=False)


def is_killed_worker(error: BaseException) -> bool:
    """Whether an item failed because the processes that worked on it died."""
    return type(error).__name__ == "KilledWorker"


def is_lost_scheduler(error: BaseException) -> bool:
    """Whether an item has no result because there is nobody left to ask for it."""
    names = ("CancelledError", "FutureCancelledError", "ClosedClientError", "CommClosedError")
    return type(error).__name__ in names


@contextmanager
def _client(scheduler: str | None, workers: int | None, scratch: Path) -> Iterator[Client]:
    import dask
    from distributed import Client

    # An item whose worker died is tried again once; after that it is run alone.
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.comm.timeouts.connect": "30s",
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
        # One heap for the threads of a worker: what one has freed, the others can use. 130 MB less.
        "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    }
    with dask.config.set(settings):
        if scheduler is None:
            with _local_cluster(workers, scratch) as cluster, Client(cluster) as client:
                yield client
        else:
            try:
                client = _connected(scheduler)
            except (OSError, ValueError, TimeoutError) as error:
                raise UsageError(
                    f"The scheduler {scheduler} cannot be reached: {error}. Start one with 'dask "
                    "scheduler', or leave --scheduler out to work on this machine."
                ) from error
            with client:
                yield client


def _connected(scheduler: str) -> Client:
    from distributed import Client
    from distributed.security import Security

    if "://" not in scheduler:
        return Client(scheduler_file=scheduler)
    # With tls:// the certificates come from Dask's own configuration.
    return Client(scheduler, security=Security() if scheduler.startswith("tls") else None)


def _local_cluster(workers: int | None, scratch: Path) -> Any:
    """One process for each GPU, else for each core; nobody else can reach its port."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = _gpus()
    count = workers or len(gpus) or os.cpu_count() or 1
    threads_each = "1" if not gpus else str(max(1, (os.cpu_count() or 1) // count))
    options = {
        # Beside a network on its own core, a second thread only waits for Python's lock: 12 % lost.
        "nthreads": _THREADS if gpus else 1,
        "host": "127.0.0.1",
        "dashboard": False,
        "memory_limit": 0,
        "local_directory": str(scratch),
    }
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = dict.fromkeys(names, threads_each)
    specs = {}
    for i in range(count):
        own = environment | ({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {})
        specs[i] = {"cls": Nanny, "options": {**options, "env": own}}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
    return SpecCluster(specs, scheduler, silence_logs=50)


def _gpus() -> list[str]:
    """Names of the GPUs that may be used, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    devices = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(devices.iterdir())] if devices.is_dir() else []


def _check_workers(client: Client, shared: Path) -> None:
    """All workers run this code and see this folder."""
    try:
        client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS_S)
    except TimeoutError as error:
        raise UsageError(
            f"The scheduler has no workers (waited {_WAIT_FOR_WORKERS_S} s). Start some with "
            "'dask worker ADDRESS'."
        ) from error
    probe = shared / f".seen-{uuid.uuid4().hex}"
    probe.touch()
    try:
        answers = client.run(_answer, probe, on_error="return")
    finally:
        probe.unlink(missing_ok=True)
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            raise UsageError(f"The worker {address} has no CellCam that can be used: {answer}.")
        version, sees = answer
        if version != code_version():
            raise UsageError(
                f"The worker {address} runs CellCam {version}, this is {code_version()}. Install "
                "the same version everywhere."
            )
        if not sees:
            raise UsageError(
                f"The worker {address} does not see {shared}. Images and results must lie in a "
                "folder that all workers share, under the same path."
            )


def _answer(probe: Path) -> tuple[str, bool]:
    from cellcam.versions import code_version

    return code_version(), probe.exists()


def lost(error: BaseException) -> StoppedError:
    """What is told when the scheduler goes away."""
    return StoppedError(
        f"The scheduler was lost ({type(error).__name__}). What is done is kept; give the same "
        "command again."
    )
