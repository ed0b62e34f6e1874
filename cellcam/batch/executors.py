"""Executors for items: this process, workers on this machine, or an existing Dask cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from cellcam.errors import StoppedError, UsageError
from cellcam.versions import software_version

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

_P = ParamSpec("_P")
_T = TypeVar("_T")
# One item can be read while the network works on another.
_THREADS = 2
_WAIT_FOR_WORKERS_S = 300
_DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each card


class SynchronousExecutor(Executor):
    """Runs each item in the calling thread as it is submitted: for debugging."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run ``fn`` and return a finished future."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - kept in the future
            future.set_exception(error)
        return future


@contextmanager
def executor(
    scheduler: str | None, workers: int | None, shared: Path, device: str = "auto"
) -> Iterator[Executor]:
    """Executor for the items of a batch.

    Parameters
    ----------
    scheduler : None for worker processes on this machine, ``"sync"`` for the calling thread,
        ``"threads"`` for threads of this process, else the address of a Dask scheduler, or the
        file that it wrote
    workers : number of processes on this machine; default: one for each GPU, or for each core
    shared : folder of the results, which all workers must see
    device : that every worker must have, see `choose_device`

    Raises
    ------
    UsageError
        If a scheduler cannot be reached, or its workers run other software, see other files or
        lack the device.
    """
    if scheduler in ("sync", "threads"):
        check_device(device)
    if scheduler == "sync":
        yield SynchronousExecutor()
    elif scheduler == "threads":
        with ThreadPoolExecutor(_THREADS) as pool:
            yield pool
    else:
        with _client(scheduler, workers, shared / "parts" / "dask", device) as client:
            _check_workers(client, shared, device)
            yield client.get_executor(pure=False)


def is_killed_worker(error: BaseException) -> bool:
    """Whether an item failed because the processes that worked on it died."""
    return type(error).__name__ == "KilledWorker"


def is_lost_scheduler(error: BaseException) -> bool:
    """Whether an item has no result because the scheduler is gone."""
    names = ("CancelledError", "FutureCancelledError", "ClosedClientError", "CommClosedError")
    return type(error).__name__ in names


@contextmanager
def _client(
    scheduler: str | None, workers: int | None, scratch: Path, device: str
) -> Iterator[Client]:
    import dask
    from distributed import Client

    # An item whose worker died is tried again once by Dask; after that CellCam runs it alone.
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.comm.timeouts.connect": "30s",
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
        # One heap for all threads of a worker, so that they share freed memory: 130 MB less.
        "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    }
    with dask.config.set(settings):
        if scheduler is None:
            try:
                with _started(workers, scratch, device) as cluster, Client(cluster) as client:
                    yield client
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
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


def _started(workers: int | None, scratch: Path, device: str) -> SpecCluster:
    """The processes of this machine; that they do not start is an error with the way out."""
    try:
        return _local_cluster(workers, scratch, device)
    except (RuntimeError, TimeoutError) as error:
        raise StoppedError(
            f"The processes that share the work did not start: {error}. Give the same command "
            "again with fewer of them (--workers 1), or without any (--scheduler sync)."
        ) from error


def _local_cluster(workers: int | None, scratch: Path, device: str) -> SpecCluster:
    """One process for each GPU, else for each core; its ports are open to this machine alone."""
    from distributed import Nanny, Scheduler, SpecCluster

    shares_out = device in ("auto", "cuda")
    gpus = _gpus() if shares_out else [device] * device.startswith("cuda")
    count = workers or len(gpus) or os.cpu_count() or 1
    threads_each = "1" if not gpus else str(max(1, (os.cpu_count() or 1) // count))
    options = {
        # On a CPU a second thread waits for Python's lock: 12 % slower.
        "nthreads": _THREADS if gpus else 1,
        "host": "127.0.0.1",
        # Dask serves HTTP even without its pages: on any free port, as 8787 may be another batch's.
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
        "local_directory": str(scratch),
    }
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = dict.fromkeys(names, threads_each)
    specs = {}
    for i in range(count):
        # A card that was asked for by its number must keep it.
        gpu = {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus and shares_out else {}
        specs[i] = {"cls": Nanny, "options": {**options, "env": environment | gpu}}
    here = {name: options[name] for name in ("host", "dashboard", "dashboard_address")}
    return SpecCluster(specs, {"cls": Scheduler, "options": here}, silence_logs=50)


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, found without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA sees none of those behind the first that does not exist, such as -1.
        names = visible.replace(" ", "").split(",")
        return list(takewhile(lambda name: name and not name.startswith("-"), names))
    if _DRIVER.is_dir():
        return [str(i) for i, _ in enumerate(_DRIVER.iterdir())]
    return [str(i) for i in range(_listed_by_driver())]


def _listed_by_driver() -> int:
    """Number of GPUs that the driver's program lists: on Windows, in WSL and some containers."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _check_workers(client: Client, shared: Path, device: str) -> None:
    """All workers run this software, see this folder and have the device."""
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
        answers = client.run(_view, probe, device, on_error="return")
    finally:
        probe.unlink(missing_ok=True)
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            raise UsageError(f"The worker {address} has no CellCam that can be used: {answer}.")
        if answer.software != software_version():
            raise UsageError(
                f"The worker {address} runs {_differing(answer.software, software_version())}. "
                "Install the same versions everywhere."
            )
        if answer.device_error:
            raise UsageError(f"The worker {address} cannot work: {answer.device_error}")
        if not answer.sees_folder:
            raise UsageError(
                f"The worker {address} does not see {shared}. Images and results must lie in a "
                "folder that all workers share, under the same path."
            )


class _View(NamedTuple):
    """What a worker runs, whether it sees the folder, and what is wrong with its device."""

    software: str
    sees_folder: bool
    device_error: str


def _view(probe: Path, device: str) -> _View:
    try:
        check_device(device)
        wrong = ""
    except UsageError as error:
        wrong = str(error)
    return _View(software_version(), probe.exists(), wrong)


def check_device(device: str) -> None:
    """Raise `UsageError` if this process lacks a device that was asked for by name."""
    if device not in ("auto", "cpu"):  # these are there, and need no torch to know it
        from cellcam.models.device import choose_device

        choose_device(device)


def _differing(theirs: str, ours: str) -> str:
    """The packages in which two lists of versions differ."""
    pairs = zip(theirs.split(", "), ours.split(", "), strict=True)
    return ", ".join(f"{their}, this is {our}" for their, our in pairs if their != our)


def end_broken_process(error: BaseException) -> None:
    """End a worker whose GPU is in an error state: every later call in this process would fail.

    Dask starts it anew, and runs the item once more, then alone.

    Raises
    ------
    StoppedError
        If nothing would start this process again.
    """
    from cellcam.models.device import is_broken

    if not is_broken(error):
        return
    if _has_nanny():
        os._exit(1)
    raise StoppedError(
        f"The GPU is in an error state ({str(error).splitlines()[0]}). What is done is kept; give "
        "the same command again. If it happens at the same image, leave that out, or work with "
        "--device cpu."
    ) from error


def _has_nanny() -> bool:
    """Whether this process is a Dask worker that is started again when it ends."""
    try:
        from distributed import get_worker

        return get_worker().nanny is not None
    except (ImportError, ValueError):
        return False


def lost(error: BaseException) -> StoppedError:
    """Error for a scheduler that is gone."""
    return StoppedError(
        f"The scheduler was lost ({type(error).__name__}). What is done is kept; give the same "
        "command again."
    )
