"""What this repository needs to run from its checkout, on a machine where it is not installed.

``installation.py FOLDER`` writes the metadata of all distributions of the repository into a folder, as pip would,
so that their plugins are found, and prints the other packages that are missing. ``--paths`` prints the folders of
the code.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = ("pneumo-tensorboard", "pneumo-mlflow", "pneumo-wandb")
"""Plugins with dependencies that the check does not use."""
TESTS = ("pytest>=8.4", "hypothesis>=6.140")


def projects(root: Path = ROOT) -> dict[Path, dict[str, Any]]:
    """The table ``project`` of each distribution, by its folder."""
    files = [root / "pyproject.toml", *sorted((root / "plugins").glob("*/pyproject.toml"))]
    found = {file.parent: tomllib.loads(file.read_text())["project"] for file in files}
    return {folder: project for folder, project in found.items() if project["name"] not in WITHOUT}


def write_metadata(site: Path, project: dict[str, Any]) -> None:
    """Write a distribution's name, version and entry points."""
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project.get("entry-points", {}).items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def needed(all_projects: dict[Path, dict[str, Any]]) -> Iterator[str]:
    """What the distributions and the tests depend on, without each other."""
    own = {project["name"] for project in all_projects.values()}
    listed = [line for project in all_projects.values() for line in project.get("dependencies", ())]
    for requirement in dict.fromkeys((*listed, *TESTS)):
        if name_of(requirement) not in own:
            yield requirement


def name_of(requirement: str) -> str:
    """The distribution that a requirement names."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match.group() if match else requirement


def is_installed(name: str) -> bool:
    """Whether a distribution is there, of whatever version."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def main(argument: str) -> None:
    """See the module."""
    every = projects()
    if argument == "--paths":
        print(":".join(str(folder) for folder in every if folder != ROOT))
        return
    for project in every.values():
        if not is_installed(project["name"]):
            write_metadata(Path(argument), project)
    print(
        " ".join(f"'{one}'" if " " in one else one for one in needed(every) if not is_installed(name_of(one)))
    )


if __name__ == "__main__":
    main(sys.argv[1])
