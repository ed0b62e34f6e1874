"""No socket leads out of this machine unless the user asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
import yaml
from support.batches import cellcam, ended, hooked, write_field

from cellcam import samples

# Writes down every address that Python is to connect to, or whose name is to be looked up, and
# refuses those of other machines. Runs in every process of the command, workers included.
WATCHED = """
import os, sys
allowed = ("127.", "::1", "localhost", "0.0.0.0")
def watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        place = address[0] if isinstance(address, tuple) else "unix"
    elif event == "socket.getaddrinfo":
        place = arguments[0]
    elif event == "socket.sendto":
        place = arguments[1][0] if isinstance(arguments[1], tuple) else "unix"
    else:
        return
    place = place.decode() if isinstance(place, bytes) else str(place)
    with open(os.environ["SOCKETS"], "a") as file:
        print(event, place, file=file)
    if place != "unix" and place != "None" and not place.startswith(allowed):
        if place != __import__("socket").gethostname():
            raise OSError("a connection to " + place)
sys.addaudithook(watch)
"""


def elsewhere(log: Path) -> set[str]:
    """Addresses of other machines in a log."""
    import socket

    seen = {line.split()[1] for line in log.read_text().splitlines()} if log.exists() else set()
    here = ("127.", "::1", "localhost", "0.0.0.0", "unix", "None", socket.gethostname())
    return {place for place in seen if not place.startswith(here)}


def commands(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every command with the files that it needs."""
    model = samples.sample_path(samples.DEMO_MODEL)
    image = samples.sample_path(samples.DEMO_STACK)
    write_field(folder / "in" / "a.tif", 0)
    random = np.random.default_rng(0)
    bright = np.arange(40) % 2
    crops = random.poisson(50 + 100 * bright[:, None, None, None], (40, 1, 16, 16))
    tifffile.imwrite(folder / "crops.tif", crops.astype(np.uint8), metadata={"axes": "QCYX"})
    table = {"image": "crops.tif", "index": range(40), "cls": np.array(["a", "b"])[bright]}
    pd.DataFrame(table).to_csv(folder / "cells.csv", index=False)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"epochs": 1, "batch_size": 8}))
    return {
        "info": ("info",),
        "explain": ("explain", image, "--model", model, "--out", folder / "explained",
                    "--device", "cpu"),
        "batch": ("batch", image, "--model", model, "--out", folder / "batched", "--workers", 1,
                  "--explain", 0, "--device", "cpu"),
        "train": ("train", folder / "cells.csv", "--out", folder / "trained", "--recipe",
                  folder / "recipe.yaml", "--device", "cpu"),
    }  # fmt: skip


@pytest.mark.fault("a command that would call home", "no connection leaves this machine")
@pytest.mark.parametrize("name", ["info", "explain", "batch", "train"])
def test_no_connection_leaves_this_machine(tmp_path: Path, name: str) -> None:
    log = tmp_path / "sockets.txt"
    environment = {**hooked(tmp_path / "hooks", WATCHED), "SOCKETS": str(log)}
    code, _, stderr = ended(cellcam(*commands(tmp_path)[name], env=environment))
    assert code == 0, stderr
    assert elsewhere(log) == set()
    if name == "batch":  # the watch works: workers are reached on this machine
        assert "127.0.0.1" in log.read_text()


def test_the_watch_sees_connections(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    log = tmp_path / "sockets.txt"
    environment = {**hooked(tmp_path / "hooks", WATCHED), "SOCKETS": str(log)}
    # What socket.connect reports before it connects; nothing is sent.
    code = "import sys; sys.audit('socket.connect', None, ('192.0.2.1', 80))"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert "a connection to 192.0.2.1" in run.stderr
    assert elsewhere(log) == {"192.0.2.1"}


@pytest.mark.fault("ports of the workers of a batch", "open to this machine alone")
def test_workers_listen_to_this_machine_alone(tmp_path: Path) -> None:
    from cellcam.batch.executors import executor

    with executor(None, 1, tmp_path) as pool:
        assert pool.submit(json.dumps, 1).result() == "1"
        addresses = [pool._client.scheduler_info()["address"]]  # type: ignore[attr-defined]
        addresses += list(pool._client.scheduler_info()["workers"])  # type: ignore[attr-defined]
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert addresses
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
    assert listening == {"127.0.0.1"}
