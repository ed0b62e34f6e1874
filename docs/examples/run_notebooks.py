"""Run the notebooks on the sample data, and keep their outputs in them.

python docs/examples/run_notebooks.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
import sample
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def main() -> None:
    """Run all of them."""
    with tempfile.TemporaryDirectory() as folder:
        sample.main(Path(folder))
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            place = {"metadata": {"path": folder}}
            client = NotebookClient(notebook, timeout=600, startup_timeout=600, resources=place)
            client.execute()
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)  # times, which differ in every run
            nbformat.write(notebook, path)
            print(path.name)


if __name__ == "__main__":
    main()
