# One command each, on a machine with Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# X11 libraries that Qt and Xvfb need for the windowed tests.
APT := xvfb xauth libegl1 libgl1 libgl1-mesa-dri libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 \
	libxcb-render-util0 libxcb-shape0 libxcb-xkb1 libxcb-xinerama0

.PHONY: demo test lint docs notebooks audit floors release reliability sample-data system-packages

demo: .venv/demo-ready
	$(BIN)/cellcam demo

# Two processes, a file of tests each at a time. They start others: threads that wait must not keep
# the cores from them, and two times two threads would wait for each other.
test: .venv/test-ready system-packages
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Known faults of installed packages; without a network there is nothing to ask.
audit: .venv/test-ready
	test -d .venv/audit || $(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/python benchmarks/audit.py "$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")"

# The lowest versions that pyproject.toml declares, in an environment of their own.
floors:
	benchmarks/floors.sh

# Builds sdist and wheel, installs them in an empty environment elsewhere, and runs them there.
release:
	packaging/check_release.sh

# Injects every fault, and writes what was seen below what people wrote in the document.
reliability: .venv/test-ready system-packages
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m fault --reliability=docs/reliability.md tests

lint: .venv/test-ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

# The site, in build/site; warnings are errors.
docs: .venv/test-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# Runs the notebooks on sample data and keeps their outputs.
notebooks: .venv/test-ready
	$(BIN)/python docs/examples/run_notebooks.py

# Simulates the demo stack and its truth, and trains the demo model (about ten minutes).
sample-data: .venv/test-ready
	$(BIN)/python -m cellcam_training.simulated.demo_data sample_data

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/demo-ready: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv: about 6 GB, several minutes."
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/test-ready: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv, with what the tests need: about 7 GB, several minutes."
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ .venv/demo-ready

# On Linux the windowed tests draw into Xvfb; install what is missing, or say what to install.
system-packages:
	@if [ "$$(uname)" != Linux ] || { command -v Xvfb && ldconfig -p | grep -q libxcb-icccm; } >/dev/null; \
	then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(APT) >/dev/null; \
	else echo "The windowed tests need: sudo apt-get install $(APT)"; exit 1; fi
