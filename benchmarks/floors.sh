#!/usr/bin/env bash
# Do the lowest versions that pyproject.toml declares work? Installs them in an environment of
# their own, and runs tests of every room that does not need a window.
#
#     benchmarks/floors.sh [FOLDER]
#
# Needs uv (pip cannot choose the lowest versions) and, with torch, 3 GB of downloads.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-/tmp/cellcam-floors}
mkdir -p "$work"
command -v uv >/dev/null || { python3 -m venv "$work/tool" && "$work/tool/bin/pip" -q install uv; }
PATH=$PATH:$work/tool/bin
uv pip compile --quiet --python-version 3.11 --resolution lowest-direct --extra train \
  --extra anndata pyproject.toml -o "$work/floors.txt"
uv venv --quiet --clear --python 3.11 "$work/venv"
export VIRTUAL_ENV=$work/venv
uv pip install --quiet -r "$work/floors.txt" pytest pytest-timeout hypothesis psutil
uv pip install --quiet --no-deps .
cp -r tests pyproject.toml sample_data "$work/" 2>/dev/null || true
cd "$work"
grep -E '^[a-z]' floors.txt | grep -E "$(
  sed -n '/^dependencies/,/^]/s/.*"\([A-Za-z-]*\).*/^\1==/p' pyproject.toml | paste -sd'|' -
)" || true
OMP_WAIT_POLICY=passive "$work/venv/bin/python" -m pytest -q -p no:cacheprovider \
  -o filterwarnings=default -o addopts= -m "not gui" -k "not captum" \
  tests/stacks tests/cells tests/models tests/explain tests/pipeline tests/exchange \
  tests/reporting tests/batch/test_run.py tests/batch/test_huge_images.py tests/training/tables \
  --ignore tests/training/tables/test_table_formats.py \
  tests/training/fitting/test_trainer.py tests/test_cli.py
