"""The distributions of this repository as their pyproject.toml files describe them: core and bundled plugins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Distribution:
    """One project.

    Attributes:
        folder: in which its pyproject.toml is.
        content: that file.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.content["project"]["name"])

    @property
    def version(self) -> str:
        return str(self.content["project"]["version"])

    @property
    def package(self) -> str:
        """The package that it installs."""
        (package,) = self.content["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        return str(package)

    @property
    def dependencies(self) -> list[str]:
        return list(self.content["project"].get("dependencies", []))

    @property
    def extras(self) -> dict[str, list[str]]:
        return dict(self.content["project"].get("optional-dependencies", {}))


def distributions() -> list[Distribution]:
    """The core, and the bundled plugins by name."""
    files = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]
    return [Distribution(file.parent, tomllib.loads(file.read_text(encoding="utf-8"))) for file in files]


def required_name(requirement: str) -> str:
    """``chest-xray`` of ``chest_xray[download]>=1``: the normalized name of what a requirement asks for."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def outside_requirements() -> Iterator[str]:
    """Whatever any distribution needs that is not in this repository, with all extras and build systems."""
    projects = distributions()
    own = {project.name for project in projects}
    for project in projects:
        needed = [*project.content["build-system"]["requires"], *project.dependencies]
        needed += [requirement for extra in project.extras.values() for requirement in extra]
        yield from (requirement for requirement in needed if required_name(requirement) not in own)
