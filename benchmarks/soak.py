"""Does anything grow? Mixed work in one process and one window, for as long as is asked for.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/soak.py WORK --minutes 60

Again and again, in an order drawn by chance: open an image in the window, classify and explain its
cells, click some, switch the evidence, cancel an explanation in the middle, open a damaged file,
explain an image to files, run a batch with a damaged image among the others. After each, memory
(resident), file handles, threads, child processes, layers and widgets are written to
WORK/soak.csv; at the end WORK/soak.png shows their curves, and the growth per hour over the second
half of the time is printed.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pandas as pd
import psutil
from napari_cellcam.explain_dock import explain_widget
from napari_cellcam.explain_dock.explain_widget import ExplainWidget
from qtpy.QtWidgets import QApplication
from window import settle, wait

from cellcam import Request, load_model, open_stack, samples
from cellcam.batch.run import Resources, run_batch
from cellcam.errors import CellCamError
from cellcam.pipeline.explain_stack import explain_stack

IMAGE = samples.sample_path(samples.DEMO_STACK)
MODEL = samples.sample_path(samples.DEMO_MODEL)
FIGURES = ("memory_mb", "handles", "threads", "children", "layers", "widgets")


class Work:
    """The kinds of work, each done once by a call.

    Parameters
    ----------
    folder : for images and results
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = np.random.default_rng(0)
        self.viewer = napari.Viewer()
        _, self.widget = self.viewer.window.add_plugin_dock_widget(
            "cellcam", "Classify and explain cells"
        )
        self.damaged = folder / "damaged.ome.tif"
        self.damaged.write_bytes(IMAGE.read_bytes()[:100_000])
        (folder / "in").mkdir(exist_ok=True)
        for path in (IMAGE, self.damaged):
            shutil.copy(path, folder / "in" / path.name)
        self.model = load_model(MODEL, "cpu")

    def kinds(self) -> list[Callable[[], None]]:
        """All kinds of work, the quick ones twice."""
        quick = [self.open_and_click, self.cancel, self.fail]
        return [*quick, *quick, self.explain, self.to_files, self.batch]

    def explain(self) -> None:
        """Explain all cells in the window, and look at the evidence."""
        widget = self._classified()
        widget.explain()
        wait(lambda: not widget.busy)
        widget.evidence.toggle()
        settle(0.2)
        self._close()

    def open_and_click(self) -> None:
        """Classify the cells of an image in the window, and click a few."""
        widget = self._classified()
        for row in self.random.integers(0, len(widget.session.table), 3).tolist():
            widget.go_to_cell(row)
            wait(lambda: not widget.busy)
        self._close()

    def cancel(self) -> None:
        """Begin to explain, and cancel or remove the layers after a moment."""
        widget = self._classified()
        widget.explain()
        settle(float(self.random.uniform(0.05, 1.0)))
        if self.random.random() < 0.5:
            widget.tasks.cancel()
        else:
            self.viewer.layers.clear()
        wait(lambda: not widget.busy)
        self._close()

    def fail(self) -> None:
        """Open a damaged file with the library and in the window, and an impossible request."""
        for opened in (
            lambda: open_stack(self.damaged),
            lambda: self.viewer.open(str(self.damaged), plugin="cellcam"),
            lambda: explain_stack(
                open_stack(IMAGE), self.model, self.folder / "no", Request(classes=("none",))
            ),
        ):
            try:
                opened()
            except Exception:  # noqa: BLE001 - napari wraps what a reader raises
                continue
            raise AssertionError("a damaged file was opened")
        self._close()

    def to_files(self) -> None:
        """Explain an image to files."""
        explain_stack(open_stack(IMAGE), self.model, self.folder / "files", Request(explained=0.2))
        shutil.rmtree(self.folder / "files")

    def batch(self) -> None:
        """A batch of a good and a damaged image, with workers or in this process."""
        workers = None if self.random.random() < 0.5 else "sync"
        resources = Resources(workers, 1 if workers is None else None, device="cpu")
        done = run_batch(
            [self.folder / "in"], MODEL, self.folder / "out", Request(explained=0.1),
            resources=resources,
        )  # fmt: skip
        assert done is not None
        assert len(done.failed) == 1
        shutil.rmtree(self.folder / "out")

    def _classified(self) -> ExplainWidget:
        self.viewer.open(str(IMAGE), plugin="cellcam")
        self.widget.choices.choose_model(str(MODEL))
        self.widget.classify()
        wait(lambda: not self.widget.busy)
        return self.widget

    def _close(self) -> None:
        self.viewer.layers.clear()
        settle(0.1)

    def sample(self) -> dict[str, float]:
        """What grows where something is kept."""
        gc.collect()
        process = psutil.Process()
        return {
            "memory_mb": process.memory_info().rss / 2**20,
            "handles": process.num_fds(),
            "threads": process.num_threads(),
            "children": len(process.children(recursive=True)),
            "layers": len(self.viewer.layers),
            "widgets": len(QApplication.allWidgets()),
        }


def draw(path: Path, samples: pd.DataFrame) -> None:
    """One curve for each figure."""
    from matplotlib.figure import Figure

    figure = Figure((9, 9), layout="constrained")
    axes = figure.subplots(len(FIGURES), 1, sharex=True)
    for axis, name in zip(axes, FIGURES, strict=True):
        axis.plot(samples["minutes"], samples[name], color="#0072B2", lw=1)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def growth(samples: pd.DataFrame) -> dict[str, float]:
    """Slope of each figure over the second half, per hour."""
    late = samples[samples["minutes"] >= samples["minutes"].max() / 2]
    hours = late["minutes"] / 60
    return {name: float(np.polyfit(hours, late[name], 1)[0]) for name in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    chosen = parser.parse_args()
    shutil.rmtree(chosen.work, ignore_errors=True)
    chosen.work.mkdir(parents=True)
    explain_widget.projects_folder = lambda: chosen.work / "projects"
    work = Work(chosen.work)
    started, rows = time.monotonic(), []
    while (minutes := (time.monotonic() - started) / 60) < chosen.minutes:
        kind = work.random.choice(work.kinds())
        try:
            kind()
        except CellCamError as error:
            print(f"{kind.__name__}: {error}", flush=True)
        rows.append({"minutes": minutes, "work": kind.__name__, **work.sample()})
        table = pd.DataFrame(rows)
        table.to_csv(chosen.work / "soak.csv", index=False)
        print(", ".join(f"{k} {v:.0f}" for k, v in rows[-1].items() if k != "work"), flush=True)
    draw(chosen.work / "soak.png", table)
    print(table["work"].value_counts().to_string())
    for name, slope in growth(table).items():
        print(
            f"{name}: {table[name].iloc[0]:.0f} to {table[name].iloc[-1]:.0f}, "
            f"{slope:+.1f} an hour in the second half"
        )


if __name__ == "__main__":
    main()
