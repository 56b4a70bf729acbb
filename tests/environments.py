"""Fresh virtual environments, for tests of what strangers pip-install. Not for tests inside this process."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from pathlib import Path


class Environment:
    """A fresh virtual environment that sees this one's libraries, and in it the program ``pneumo``."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = next((folder / "venv").glob("[bS]*/python*"))
        paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
        self.site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
        # Torch and the rest as they are here. addsitedir, and not the bare paths, so that editable installs count.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site_folders()]
        (self.site / "host.pth").write_text("".join(lines))
        self._environ = {name: value for name, value in environ.items() if name != "PYTHONPATH"}

    def install(self, name: str, files: Mapping[str, str], entry_point: str, module: str) -> None:
        """Write a project and ``pip install`` it."""
        project = self.folder / name
        package = project / module.split(".")[0]
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        for file, source in files.items():
            (package / file).write_text(textwrap.dedent(source))
        (project / "pyproject.toml").write_text(
            f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
            f'[project]\nname = "{name}"\nversion = "0.2.0"\ndependencies = ["pneumo-cli"]\n\n'
            f'[project.entry-points.pneumo]\n{entry_point} = "{module}"\n'
        )
        self.install_project(project)

    def install_project(self, *projects: Path) -> None:
        """``pip install`` projects that lie here, without a network."""
        self._pip_install("--no-index", "--no-build-isolation", *map(str, projects))

    def install_published(self, *names: str) -> None:
        """``pip install`` distributions from the package index, without what they depend on."""
        self._pip_install(*names)

    def _pip_install(self, *arguments: str) -> None:
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "--no-deps", *arguments], check=True, env=self._environ)

    def pneumo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.python_module("pneumo_cli", *arguments)

    def python_module(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module, as ``python -m`` does."""
        return self._python("-m", *arguments)

    def python_code(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program, as ``python -c`` does."""
        return self._python("-c", code, *arguments)

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.work,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )


class Bare(Environment):
    """An environment with the libraries of this one, and without any distribution of pneumo's."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        super().__init__(folder, environ)
        libraries = folder / "libraries"
        libraries.mkdir()
        for site in site_folders():
            for path in Path(site).iterdir():
                if "pneumo" not in path.name and path.suffix != ".pth":
                    (libraries / path.name).symlink_to(path)
        (host,) = folder.rglob("host.pth")
        host.write_text(f"{libraries}\n")


def site_folders() -> list[str]:
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
