"""Which installed packages have known faults? Asks PyPI's advisories through pip-audit.

    make audit

Run with the Python of an environment that holds pip-audit, on the packages of another. Ends with
status 1 if an installed version has a known fault, and says so if the advisories could not be
asked for: without a network that is no failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="site-packages of the environment to audit")
    chosen = parser.parse_args()
    command = [
        sys.executable, "-m", "pip_audit", "--path", str(chosen.packages), "--format", "json",
        "--progress-spinner", "off", "--skip-editable",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    asked = [package for package in packages if "skip_reason" not in package]
    faulty = [package for package in asked if package["vulns"]]
    for package in faulty:
        for fault in package["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {fault['id']}, mended in {fixed}")
    if not asked:
        print("No audit: the advisories of PyPI cannot be reached from here.")
    else:
        print(f"{len(asked)} packages audited, {len(faulty)} with known faults.")
    sys.exit(1 if faulty else 0)


if __name__ == "__main__":
    main()
