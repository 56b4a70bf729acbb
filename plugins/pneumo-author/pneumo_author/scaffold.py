"""Makes a plugin package from the templates in ``templates/``: those of its kind, and those of every kind.

A template is a file of the package with ``$name``, ``$package`` and the like in place of the plugin's names
(:class:`string.Template`); ``package/`` becomes the folder of the package.
"""

from __future__ import annotations

import keyword
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from string import Template

from pneumo_author.templates import STEPS, SUMMARIES
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Registry

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
_PREFIX = "pneumo-"


def make_package(plugins: Plugins, name: str, kind: str, output: Path) -> str:
    """Make the folder ``pneumo-NAME``, whole or not at all.

    Args:
        name: of what the plugin registers; ``pneumo-`` before it is left out.
        kind: one of the folders of templates.
        output: the folder in which it is made.

    Returns:
        what was made, and what to do next.

    Raises:
        UsageError: the name is not usable or taken, or the folder exists.
        PneumoError: it cannot be written.
    """
    name = name.removeprefix(_PREFIX)
    _check_name(plugins, name, kind)
    target = output / f"{_PREFIX}{name}"
    if os.path.lexists(target):
        raise UsageError(f"{target} exists: choose another name, or another folder with --output")
    names = _names_of(name, kind)
    files = render(kind, names)
    # Under a name that no program takes for a package, then renamed: another program sees all of it or nothing.
    unfinished = output / f".{target.name}.{secrets.token_hex(6)}.tmp"
    try:
        output.mkdir(parents=True, exist_ok=True)
        try:
            for path, text in files.items():
                file = unfinished / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            os.rename(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise PneumoError(f"{target} cannot be written: {error.strerror}") from error
    steps = "\n".join(f"    {line}" for line in ("cd " + _quoted(target), *_steps(kind, names)))
    return (
        f"{target}: the {kind} {name}, {len(files)} files. {SUMMARIES[kind]}\n\nWhat to do next:\n\n{steps}\n\n"
        f"Then write your own into {names['package']}/{_main_file(kind)}, and check it again."
    )


def render(kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """The files of a package of a kind, by path."""
    rendered = {}
    for folder in ("shared", kind):
        for path in sorted((_TEMPLATES / folder).rglob("*.template")):
            place = path.relative_to(_TEMPLATES / folder).with_suffix("").as_posix()
            place = re.sub(r"^package/", f"{names['package']}/", place)
            rendered[".gitignore" if place == "gitignore" else place] = path.read_text(encoding="utf-8")
    own = [
        path for path in rendered if path.startswith(names["package"]) and not path.endswith("__init__.py")
    ]
    rows = [
        f"| `{path}` | {_purpose(rendered[path])} |"
        for path in own
        if Path(path).name not in ("plugin.py", "py.typed")
    ]
    steps = "\n".join(f"    {line}" for line in _steps(kind, names))
    values = {**names, "kind": kind, "files": "\n".join(rows), "steps": steps}
    # Twice: what is taken over from the files has names in it, too.
    return {
        path: Template(Template(text).safe_substitute(values)).substitute(values)
        for path, text in rendered.items()
    }


def _purpose(source: str) -> str:
    """The first sentence of a module's docstring."""
    return (
        source.partition('"""')[2].partition('"""')[0].strip().splitlines()[0].rstrip(".").replace("``", "`")
    )


def _names_of(name: str, kind: str) -> dict[str, str]:
    camel = "".join(word[:1].upper() + word[1:] for word in name.split("-"))
    suffix = name.replace("-", "")
    magic = suffix.upper()[:8].ljust(8, "0")
    classes = ("Trainer", "Model", "Settings", "Options", "Dataset", "Observer", "Extension")
    if camel in (*classes, "Part"):
        camel = f"Own{camel}"  # else a class would have the name of the one that it derives from
    return {
        "name": name,
        "kind": kind,
        "distribution": f"{_PREFIX}{name}",
        "package": f"{_PREFIX}{name}".replace("-", "_"),
        "identifier": name.replace("-", "_"),
        "Name": camel,
        "suffix": suffix,
        "magic": magic,
        **{one: camel.removesuffix(one) + one for one in classes},
    }


def _steps(kind: str, names: Mapping[str, str]) -> Iterator[str]:
    yield from (Template(line).substitute(names) for line in STEPS[kind])


def _main_file(kind: str) -> str:
    return f"{kind}.py"


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _check_name(plugins: Plugins, name: str, kind: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"the name {name[:60]!r} is not of lower-case words joined by '-' (at most {_LONGEST} characters)"
        )
    if keyword.iskeyword(name) or keyword.iskeyword(name.title()):
        raise UsageError(f"the name {name!r} is a word of Python; {_free(plugins, f'{name}-{kind}', kind)}")
    if why := _taken(plugins, name, kind):
        raise UsageError(f"{why}; {_free(plugins, name, kind)}")


def _free(plugins: Plugins, name: str, kind: str) -> str:
    candidates = (name, *(f"{name}-{number}" for number in range(2, 100)))
    return f"free is {next(one for one in candidates if not _taken(plugins, one, kind))}"


def _taken(plugins: Plugins, name: str, kind: str) -> str:
    """What has this name already; empty if it is free."""
    registries: dict[str, tuple[Registry, ...]] = {
        "trainer": (plugins.trainers, plugins.models),
        "model": (plugins.models,),
        "dataset": (plugins.datasets,),
        "observer": (plugins.observers, plugins.extensions),
        "extension": (plugins.observers, plugins.extensions),
    }
    for registry in registries.get(kind, ()):
        for entry in registry.find(name):
            return f"there is the {registry.noun} {name} of {entry.provenance}"
    for plugin in plugins.loaded:
        if plugin.name == name:
            return f"there is the plugin {name} of {plugin.provenance}"
    if kind == "command" and name in _commands(plugins):
        return f"there is the command {name}"
    distribution = f"{_PREFIX}{name}"
    if any(one.name.lower().replace("_", "-") == distribution for one in distributions() if one.name):
        return f"{distribution} is installed"
    package = distribution.replace("-", "_")
    return f"there is a module {package}" if find_spec(package) is not None else ""


def _commands(plugins: Plugins) -> list[str]:
    import typer

    from pneumo_cli.cli.main import build_app

    root = typer.main.get_command(build_app(plugins))
    return list(getattr(root, "commands", {}))
