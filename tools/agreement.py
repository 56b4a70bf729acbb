"""What has to agree before a release: versions, pins, and the lists that name every distribution.

Each function returns what does not, a line each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tools.distributions import ROOT, distributions, required_name

TRACKERS = {"pneumo-mlflow", "pneumo-tensorboard", "pneumo-wandb"}
"""Installed by an extra and a requirements file of their own, for what they need is large."""


def versions() -> list[str]:
    """One version everywhere. A distribution that asks for another one here says from which version on.

    Plugins that use public names alone take later minor versions too (``>=0.2``); the others reach inside
    (``~=0.2.0``).
    """
    core, *plugins = distributions()
    own = {core.name, *(plugin.name for plugin in plugins)}
    series = ".".join(core.version.split(".")[:2])
    pins = (f"~={series}.0", f">={series}")
    problems = [
        f"{plugin.name} has version {plugin.version}, pneumo-cli {core.version}"
        for plugin in plugins
        if plugin.version != core.version
    ]
    for plugin in plugins:
        if not any(required_name(needed) == core.name for needed in plugin.dependencies):
            problems.append(f"{plugin.name} does not depend on {core.name}")
        for needed in plugin.dependencies:
            if required_name(needed) in own and not needed.endswith(pins):
                problems.append(f"{plugin.name} asks for {needed}, and not for {' or '.join(pins)}")
    for page, found in (("CHANGELOG.md", released_version()), ("CITATION.cff", cited_version())):
        if found != core.version:
            problems.append(f"{page} names version {found}, pneumo-cli is {core.version}")
    return problems


def lists() -> list[str]:
    """Every plugin is in the requirements files, the extras, mypy's path and the documentation."""
    core, *plugins = distributions()
    names = {plugin.name for plugin in plugins}
    folders = {f"plugins/{plugin.folder.name}" for plugin in plugins}
    problems = [
        f"{plugin.folder} holds {plugin.name}" for plugin in plugins if plugin.folder.name != plugin.name
    ]
    wanted = {f"./{folder}" for folder in folders if folder.removeprefix("plugins/") not in TRACKERS}
    problems += difference("plugins/requirements.txt", installed_by("requirements.txt"), wanted | {"."})
    problems += difference(
        "plugins/requirements-trackers.txt",
        installed_by("requirements-trackers.txt"),
        {f"./plugins/{name}" for name in TRACKERS},
    )
    extras = core.extras
    problems += difference("the extra all", map(required_name, extras["all"]), names - TRACKERS)
    problems += difference("the extra trackers", map(required_name, extras["trackers"]), TRACKERS)
    checked = [path for path in core.content["tool"]["mypy"]["mypy_path"] if path.startswith("plugins/")]
    problems += difference("mypy_path", checked, folders)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if "_build" not in page.parts)
    problems += [
        f"{name} is named neither in README.md nor in docs/"
        for name in sorted(names)
        if not re.search(rf"{name}\b(?!-)", text)
    ]
    licence = (ROOT / "LICENSE").read_bytes()
    for plugin in plugins:
        copy = plugin.folder / "LICENSE"
        if not copy.is_file() or copy.read_bytes() != licence:
            problems.append(f"{plugin.name} has no copy of LICENSE: cp LICENSE {copy.relative_to(ROOT)}")
    return problems


def registered_names() -> list[str]:
    """What the installed plugins of this repository register is what the core names if one of them is missing."""
    from pneumo_cli.installation import bundled_in
    from pneumo_cli.plugins.discovery import discover

    found = discover()
    own = {plugin.name for plugin in distributions()[1:]}
    registries = (
        *(found.trainers, found.models, found.datasets, found.extensions, found.observers, found.functions),
    )
    return [
        f"_BUNDLED in pneumo_cli/installation.py lacks the {registry.noun} {entry.spec.name} of {where}"
        for registry in registries
        for entry in registry.entries()
        if (where := entry.provenance.distribution) in own
        and bundled_in(registry.noun, entry.spec.name) != where
    ]


def released_version() -> str:
    """The version at the top of CHANGELOG.md, below what is not released."""
    found = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "none"


def cited_version() -> str:
    """The version in CITATION.cff."""
    found = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip("\"'") if found else "none"


def installed_by(file: str) -> list[str]:
    """What a requirements file in ``plugins`` installs editable."""
    text = (ROOT / "plugins" / file).read_text(encoding="utf-8")
    return re.findall(r"^-e (\S+)$", text, re.MULTILINE)


def difference(where: str, found: Iterable[str], wanted: set[str]) -> list[str]:
    """What is missing in a list, and what is too much."""
    names = set(found)
    return [
        *(f"{where} lacks {name}" for name in sorted(wanted - names)),
        *(f"{where} names {name}, which is not here" for name in sorted(names - wanted)),
    ]


def main() -> None:
    """Print what does not agree."""
    for problem in (*versions(), *lists(), *registered_names()):
        print(problem)


if __name__ == "__main__":
    main()
