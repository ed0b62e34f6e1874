#!/usr/bin/env bash
# Would the release work? Builds sdist and wheel, installs the wheel in an empty environment outside
# the repository, and runs it there.
#
#     packaging/check_release.sh [FOLDER]
#
# The wheel is made from the sdist, so that both are tried. A full installation takes about 6 GB;
# LIBRARIES=.venv/lib/python3.11/site-packages borrows the other packages from there instead.
set -euo pipefail
cd "$(dirname "$0")/.."
checks=$PWD/packaging/check_installed.py
work=$(mkdir -p "${1:-/tmp/cellcam-release}" && cd "${1:-/tmp/cellcam-release}" && pwd)
libraries=${LIBRARIES:+$(cd "$LIBRARIES" && pwd)}
rm -rf "${work:?}/dist" "$work/venv" "$work/results"
[ -d "$work/tool" ] || python3 -m venv "$work/tool"
"$work/tool/bin/pip" install --quiet build
"$work/tool/bin/python" -m build --outdir "$work/dist" .
python3 -m venv "$work/venv"
wheel=$(echo "$work"/dist/*.whl)
if [ -n "$libraries" ]; then
  "$work/venv/bin/pip" install --quiet --no-deps "$wheel"
  echo "$libraries" > "$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libraries.pth"
else
  "$work/venv/bin/pip" install --quiet "$wheel[all]"
fi
mkdir "$work/results"
cd "$work/results"
env -u PYTHONPATH "$work/venv/bin/cellcam" info
env -u PYTHONPATH "$work/venv/bin/cellcam" demo
env -u PYTHONPATH QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" "$checks" "$work/venv"
ls -lh "$work/dist"
