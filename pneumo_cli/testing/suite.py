"""What the suites of all kinds have in common: the rules about discovery, and those about settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.loading import HEAVY
from pneumo_cli.registry import Entry, is_file
from pneumo_cli.specs import REFERENCE, load_reference
from pneumo_cli.testing.contract import ensure, keeping, skip, some
from pneumo_cli.testing.workplace import installed_plugins

_DISCOVERY = """
import sys
from importlib.metadata import entry_points
from pneumo_cli.plugins.discovery import discover
before = set(sys.modules)
own = [one for one in entry_points(group="pneumo") if one.dist and one.dist.name == {distribution!r}]
discover(own, "")
print(*sorted(set({heavy!r}) & (set(sys.modules) - before)))
"""
_SETTINGS = """
import sys

class Refused:
    def find_spec(self, name, *_):
        if name == "torch":
            sys.exit("it imports torch")

sys.meta_path.insert(0, Refused())
from pneumo_cli.specs import load_reference
load_reference({settings!r})
"""


class Conformance:
    """The tests that whatever a plugin registers has to pass.

    Attributes:
        name: the registered name, or ``distribution:name``.
    """

    name: ClassVar[str]

    @pytest.fixture
    def plugins(self) -> Plugins:
        """All installed plugins, and the parts of the suite."""
        return installed_plugins()

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[Any]:
        """What is under test, with its distribution."""
        raise NotImplementedError

    def test_its_distribution_has_no_problem(self, plugins: Plugins, entry: Entry[Any]) -> None:
        problems = [str(one) for one in plugins.problems if one.provenance == entry.provenance]
        ensure(
            not problems,
            "a plugin loads and registers everything without a problem",
            "; ".join(problems),
            "see pneumo list-plugins, which shows all of it",
        )

    def test_its_references_resolve(self, entry: Entry[Any]) -> None:
        for field in fields(entry.spec):
            value = getattr(entry.spec, field.name)
            if isinstance(value, str) and REFERENCE.fullmatch(value):
                with keeping(
                    f"the reference {field.name} = {value!r} of a spec can be imported",
                    "correct the module or the name, or install what it imports",
                ):
                    load_reference(value)

    def test_discovery_imports_nothing_heavy(self, plugins: Plugins, entry: Entry[Any]) -> None:
        distribution = entry.provenance.distribution
        if is_file(distribution) or not any(one.provenance == entry.provenance for one in plugins.loaded):
            skip(f"{distribution} is no installed plugin")
        done = _discovered(distribution, tuple(sys.path))
        ensure(
            not done.returncode and not done.stdout.strip(),
            "discovery imports no large library: it happens at every start, for --help too",
            f"{distribution} imports {done.stdout.strip() or done.stderr.strip()[-300:]}",
            "import it in the modules that references name, or within a function; in plugin.py import "
            "pneumo_cli.api, and the rest under TYPE_CHECKING",
        )


class SettingsConformance(Conformance):
    """The tests of what has settings, in addition."""

    def settings_of(self, entry: Entry[Any]) -> type[BaseModel] | None:
        """The settings class; None if there is none."""
        raise NotImplementedError

    def resolve_settings(
        self, plugins: Plugins, entry: Entry[Any], layer: Literal["flags", "environment", "file"], values: Any
    ) -> BaseModel:
        """The settings with values from one layer: texts as flags and variables have, or what TOML holds."""
        raise NotImplementedError

    @pytest.fixture
    def own_settings(self, entry: Entry[Any]) -> type[BaseModel]:
        """The settings class of what is under test."""
        return self.usable_settings(entry)

    def usable_settings(self, entry: Entry[Any]) -> type[BaseModel]:
        """The settings class, which pneumo accepts."""
        mend = "see the message; pneumo_cli.settings has the base classes"
        with keeping("a settings class has fields that flags, variables and files can hold", mend):
            cls = self.settings_of(entry)
        if cls is None:
            pytest.skip(f"{entry.spec.name} has no settings")
        return cls

    def test_its_defaults_are_within_its_bounds(self, own_settings: type[BaseModel]) -> None:
        rule = "every setting has a default, and it is within its bounds"
        mend = "give each field a default that its own bounds and validators accept"
        required = [name for name, info in own_settings.model_fields.items() if info.is_required()]
        ensure(not required, rule, f"{some(required)} has no default", mend)
        with keeping(rule, mend):
            defaults = {
                name: info.get_default(call_default_factory=True)
                for name, info in own_settings.model_fields.items()
            }
            same = own_settings(**defaults) == own_settings()
        ensure(same, rule, "the defaults, given as values, are not the defaults", mend)

    def test_every_setting_is_described(self, own_settings: type[BaseModel]) -> None:
        bare = [name for name, info in own_settings.model_fields.items() if not info.description]
        ensure(
            not bare,
            "every setting is described: --help shows it",
            f"{some(bare)} has no description",
            'write it as Field(…, description="…"), with the unit',
        )

    def test_its_settings_need_no_torch(self, entry: Entry[Any], own_settings: type[BaseModel]) -> None:
        if is_file(entry.provenance.distribution):
            skip("a plugin of one file holds all in one module")
        ensure(
            run_python(_SETTINGS.format(settings=entry.spec.settings)).returncode == 0,
            "the module of the settings imports no torch: --help imports it",
            f"{entry.spec.settings} imports torch, or cannot be imported alone",
            "keep settings in a module of their own, and import nothing there but pneumo_cli.settings and pydantic",
        )

    def test_settings_are_the_same_from_flags_environment_and_file(
        self, plugins: Plugins, entry: Entry[Any], own_settings: type[BaseModel]
    ) -> None:
        values = other_values(own_settings)
        expected = own_settings(**values)
        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
        }
        layers: Mapping[Literal["flags", "environment", "file"], Any] = {
            "flags": texts, "environment": texts, "file": values,
        }  # fmt: skip
        for layer, given in layers.items():
            rule = f"settings from {layer} are those that were given"
            mend = "use types that text can hold, as bool, int, float, str, Path or Literal"
            with keeping(rule, mend):
                found = self.resolve_settings(plugins, entry, layer, given)
            wrong = [name for name in values if getattr(found, name) != getattr(expected, name)]
            told = [f"{name} = {getattr(found, name)!r}, not {getattr(expected, name)!r}" for name in wrong]
            ensure(not wrong, rule, some(told), mend)


@lru_cache
def _discovered(distribution: str, path: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The discovery of one distribution in a process of its own, once for all of its parts."""
    return run_python(_DISCOVERY.format(distribution=distribution, heavy=HEAVY))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which finds the modules that this one finds."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environ
    )


def environment_of(values: Mapping[str, str], prefix: str = "PNEUMO_") -> dict[str, str]:
    """Environment variables of settings."""
    return {prefix + name.upper(): value for name, value in values.items()}


def written_toml(folder: Path, values: Mapping[str, Any]) -> Path:
    """A new configuration file in a folder."""
    path = folder / "conformance.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def other_values(cls: type[BaseModel], leaving: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A valid value other than the default for each setting of whose type one is known, all of them together.

    Args:
        leaving: names to leave out.
    """
    chosen: dict[str, Any] = {}
    for name, info in cls.model_fields.items():
        for value in () if name in leaving else _candidates(info):
            try:
                accepted = getattr(cls(**{**chosen, name: value}), name)
            except ValidationError:
                continue
            if accepted != info.get_default(call_default_factory=True):
                chosen[name] = value
                break
    return chosen


def _candidates(info: FieldInfo) -> Iterator[Any]:
    default = info.get_default(call_default_factory=True)
    if get_origin(info.annotation) is Literal:
        yield from get_args(info.annotation)
    elif isinstance(default, bool):
        yield not default
    elif isinstance(default, int):
        yield from (default + 1, default - 1, default * 2, default // 2)
    elif isinstance(default, float):
        yield from (default / 2, default * 2, default + 0.5, 0.5, 0.25)
