"""Build the distributions as they are published, and look into them."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tools.distributions import Distribution


def build_wheel(project: Path, folder: Path) -> Path:
    """Build a project's wheel into a folder; nothing is written into the project."""
    (wheel,) = WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])
    return Path(wheel)


def build_sdist(project: Path, folder: Path) -> Path:
    """Build a project's source distribution into a folder; nothing is written into the project."""
    (sdist,) = SdistBuilder(str(project)).build(directory=str(folder), versions=["standard"])
    return Path(sdist)


def wheel_problems(distribution: Distribution, wheel: Path) -> list[str]:
    """What is wrong with the content of a wheel: files too many or missing, no licence, description or types."""
    names = set(contents(wheel))
    package = set(package_files(distribution))
    info = f"{distribution.name.replace('-', '_')}-{distribution.version}.dist-info"
    wanted = {
        *package,
        *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")),
        f"{info}/licenses/LICENSE",
    }
    problems = [f"{wheel.name} lacks {name}" for name in sorted(wanted - names)]
    problems += [f"{wheel.name} holds {name}" for name in sorted(names - wanted)]
    if f"{distribution.package}/py.typed" not in names:
        problems.append(f"{wheel.name} has no {distribution.package}/py.typed")
    readme = (distribution.folder / "README.md").read_text(encoding="utf-8").strip()
    if readme not in contents(wheel)[f"{info}/METADATA"].decode():
        problems.append(f"{wheel.name} does not show its README.md")
    return problems


def unpack(archive: tarfile.TarFile, folder: Path, members: Iterable[tarfile.TarInfo] | None = None) -> None:
    """Unpack an archive of our own. Python has the filter for what is not to be trusted from 3.11.4 on."""
    safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(folder, members=members, **safe)  # noqa: S202


def sdist_problems(distribution: Distribution, sdist: Path, wheel: Path) -> list[str]:
    """What is wrong with a source distribution: files too many or missing, or another wheel than the checkout's."""
    with tempfile.TemporaryDirectory() as place, tarfile.open(sdist) as archive:
        unpack(archive, Path(place))
        (top,) = Path(place).iterdir()
        names = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}
        again = contents(build_wheel(top, Path(place)))
    wanted = {*package_files(distribution), "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
    problems = [f"{sdist.name} lacks {name}" for name in sorted(wanted - names)]
    problems += [f"{sdist.name} holds {name}" for name in sorted(names - wanted - {".gitignore"})]
    if again != contents(wheel):
        problems.append(f"{sdist.name} builds another wheel than the checkout")
    return problems


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_files(distribution: Distribution) -> list[str]:
    """The files of its package that git knows or would take, relative to the project."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", distribution.package],  # noqa: S607
        cwd=distribution.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listing.stdout.splitlines() if (distribution.folder / name).is_file()]
