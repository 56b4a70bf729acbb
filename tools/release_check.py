"""What has to hold before a release: ``make release-check``.

Versions and lists agree; wheel and source distribution of every distribution build and hold what they should; all
wheels, installed into an empty environment in another folder, are listed without problems, pass ``pneumo doctor``,
and train from the command line and from Python. Third-party libraries are those of the environment that this runs
in, so that it takes a minute and not a download of PyTorch. Prints a line for each step; exit code 1 if one failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.environments import Bare
from tools import agreement
from tools.builds import build_sdist, build_wheel, sdist_problems, wheel_problems
from tools.distributions import Distribution, distributions

QUICK = ("--preset", "quick", "--epochs", "1", "--image-size", "32", "--threads", "1")
FROM_PYTHON = """
import pneumo_cli as pneumo
result = pneumo.run("cnn", preset="quick", epochs=1, image_size=32, threads=1, output="python")
auc = result.metrics["test"]["auc"]
assert 0 <= auc.interval[0] <= auc <= auc.interval[1] <= 1, auc
"""
PACKAGES = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


class StepFailed(Exception):
    """Why a step failed, a line each."""


def main() -> int:
    """Run all steps, and return the exit code."""
    projects = distributions()
    failed = 0

    @contextmanager
    def step(title: str) -> Iterator[None]:
        nonlocal failed
        began = time.monotonic()
        try:
            yield
        except StepFailed as problem:
            failed += 1
            print(f"FAIL  {title}", *str(problem).splitlines(), sep="\n      ", flush=True)
        else:
            print(f"ok    {title} ({time.monotonic() - began:.0f} s)", flush=True)

    with step(f"versions agree: {len(projects)} distributions, {projects[0].version}"):
        hold(agreement.versions())
    with step("requirements, extras, mypy's path, documentation and licences name every distribution"):
        hold(agreement.lists())
    with step("names that the core gives to what is missing are those that are registered"):
        hold(agreement.registered_names())
    with tempfile.TemporaryDirectory() as place:
        wheels: dict[str, Path] = {}
        with step("wheels build, with their packages, licences and types, and nothing else"):
            wheels |= {project.name: build_wheel(project.folder, Path(place)) for project in projects}
            hold(problem for project in projects for problem in wheel_problems(project, wheels[project.name]))
        with step("source distributions build, and build the same wheels"):
            hold(
                problem
                for project in projects
                for problem in sdist_problems(
                    project, build_sdist(project.folder, Path(place)), wheels[project.name]
                )
            )
        if failed:
            print(f"{failed} steps failed; nothing was installed")
            return 1
        environment = empty_environment(Path(place) / "elsewhere")
        checks: dict[str, Callable[[], None]] = {
            "the wheels install into an empty environment, with all that they need": lambda: install(
                environment, list(wheels.values())
            ),
            "they are what is imported there": lambda: imports(environment, projects),
            "pneumo list-plugins: all of them, no problems": lambda: listed(environment, projects),
            "pneumo doctor": lambda: succeeds(environment.pneumo("doctor")),
            f"pneumo run cnn {' '.join(QUICK)}": lambda: succeeds(environment.pneumo("run", "cnn", *QUICK)),
            "pneumo_cli.run from Python": lambda: succeeds(environment.python_code(FROM_PYTHON)),
        }
        for title, check in checks.items():
            with step(title):
                check()
    print(f"{failed} steps failed" if failed else "ready for a release")
    return int(bool(failed))


def hold(problems: Iterator[str] | list[str]) -> None:
    """Fail the step if there are problems."""
    if lines := list(problems):
        raise StepFailed("\n".join(lines))


def empty_environment(folder: Path) -> Bare:
    """An environment without any distribution of pneumo's, and without the user's settings, data and caches."""
    folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMO_")}
    home = {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    return Bare(folder, {**environ, **home, "NO_COLOR": "1"})


def install(environment: Bare, wheels: list[Path]) -> None:
    """``pip install`` the wheels, and ask pip whether every requirement is met."""
    environment.install_project(*wheels)
    done = environment.python_module("pip", "check")
    hold([line for line in done.stdout.splitlines() if line.startswith("pneumo")])


def imports(environment: Bare, projects: list[Distribution]) -> None:
    """Every package comes from the environment, and none from the checkout."""
    done = environment.python_code(PACKAGES, *(project.package for project in projects))
    succeeds(done)
    hold([path for path in done.stdout.splitlines() if not path.startswith(str(environment.site))])


def listed(environment: Bare, projects: list[Distribution]) -> None:
    """``pneumo list-plugins`` names every distribution in its version, and no problem."""
    done = environment.pneumo("list-plugins", "--json")
    succeeds(done)
    content = json.loads(done.stdout)
    hold([str(problem) for problem in content["problems"]])
    found = {f"{row['distribution']} {row['version']}" for row in content["plugins"]}
    hold(agreement.difference("the list", found, {f"{one.name} {one.version}" for one in projects}))


def succeeds(done: subprocess.CompletedProcess[str]) -> None:
    """Fail the step with the last lines of a command that failed."""
    if done.returncode:
        raise StepFailed("\n".join([*done.stdout.splitlines()[-10:], *done.stderr.splitlines()[-20:]]))


if __name__ == "__main__":
    sys.exit(main())
