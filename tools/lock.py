"""Write ``requirements.lock``: an exact version, with hashes, of all that the distributions need from elsewhere.

``make lock`` runs it. The versions are those that are installed here: what the tests have passed with. The file
serves every platform and Python from this version on; markers say what is for which. Needs uv and a package index.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.distributions import ROOT, distributions, outside_requirements

LOCK = ROOT / "requirements.lock"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        installed = Path(folder) / "installed.txt"
        installed.write_text("".join(sorted(installed_versions())))
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "-", "--output-file", str(LOCK), "--upgrade"),
            *("--universal", "--python-version", platform.python_version(), "--constraint", str(installed)),
            *("--generate-hashes", "--no-emit-index-url", "--no-annotate", "--quiet"),
            *("--custom-compile-command", "make lock"),
        ]
        needed = "\n".join(sorted(set(outside_requirements())))
        subprocess.run(command, input=needed, text=True, check=True, cwd=ROOT)


def installed_versions() -> set[str]:
    """``name==version`` of the installed distributions that are not of this repository, one a line."""
    left_out = {project.name for project in distributions()} | {
        "pip",
        "setuptools",
    }  # these two come with Python
    return {
        f"{one.name}=={one.version.partition('+')[0]}\n"  # without the build: torch 2.14.1+cpu is torch 2.14.1
        for one in importlib.metadata.distributions()
        if one.name not in left_out
    }


if __name__ == "__main__":
    main()
