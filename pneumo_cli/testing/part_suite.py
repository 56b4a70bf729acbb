"""The tests that every extension and every observer has to pass: what ``--with`` adds to a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import pytest

from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.parts import make_part
from pneumo_cli.registry import Entry
from pneumo_cli.settings.classes import part_class
from pneumo_cli.settings.parts import flat_name
from pneumo_cli.settings.resolve import Part, resolve
from pneumo_cli.settings.schema import PartSettings
from pneumo_cli.specs import ExtensionSpec, ObserverSpec
from pneumo_cli.testing.bits import different, values_of
from pneumo_cli.testing.contract import ensure, keeping, some
from pneumo_cli.testing.datasets import TINY
from pneumo_cli.testing.run_suite import EPOCHS, Trained
from pneumo_cli.testing.runs import DiesAt, Small, make_runner, run_until
from pneumo_cli.testing.suite import SettingsConformance, environment_of, written_toml
from pneumo_cli.testing.training_suite import TrainingConformance
from pneumo_cli.testing.transfer import PROBE


class _PartConformance(TrainingConformance, SettingsConformance):
    """What extensions and observers have in common.

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: its own, in the runs of the suite.
        trainer: what is trained in them: a registered trainer, on 64 images of 32 px.
        trainer_settings: of these runs.
    """

    settings: ClassVar[Mapping[str, Any]] = {}
    trainer: ClassVar[str] = PROBE.name
    trainer_settings: ClassVar[Mapping[str, Any]] = {"image_size": 32, "batch_size": 16, "dataset": TINY.name}

    @pytest.fixture
    def small(self, plugins: Plugins, entry: Entry[Any], tmp_path: Path) -> Small:
        """Makes the settings of short runs in which it takes part."""
        own = {flat_name(entry.spec.name, name): value for name, value in self.settings.items()}
        values = {**self.trainer_settings, **own, "with": [entry.qualified_name]}
        return Small(plugins, plugins.trainers.get(self.trainer), values, tmp_path)

    def settings_of(self, entry: Entry[Any]) -> type[PartSettings] | None:
        return part_class(entry) if entry.spec.settings else None

    def resolve_settings(
        self, plugins: Plugins, entry: Entry[Any], layer: Literal["flags", "environment", "file"], values: Any
    ) -> PartSettings:
        name, asked = entry.spec.name, [entry.qualified_name]
        flat = {flat_name(name, field): value for field, value in values.items()}
        environ = environment_of(flat) if layer == "environment" else {}
        flags = {"with": asked, **(flat if layer == "flags" else {})}
        with TemporaryDirectory() as folder:
            config = written_toml(Path(folder), {name: values} if layer == "file" else {})
            resolved = resolve(
                plugins, plugins.trainers.get(self.trainer), flags, config=config, environ=environ
            )
        return resolved.parts[0].settings

    def test_its_factory_makes_an_object_with_hooks(self, entry: Entry[Any]) -> None:
        with keeping(
            "factory(settings) returns a new object with hooks, each marked with @hookimpl",
            "return an instance, decorate its hooks, and spell them as in pneumo_cli/plugins/hookspecs.py",
        ):
            settings = part_class(entry)
            one, other = (make_part(Part(entry, settings())) for _ in range(2))
        ensure(
            one is not other,
            "each run has an object of its own",
            "the factory returns the same one twice",
            "make it in the factory",
        )

    def _without(self, small: Small) -> Small:
        bare = {name: value for name, value in small.values.items() if name in self.trainer_settings}
        return Small(small.plugins, small.entry, bare, small.folder)


class ExtensionConformance(_PartConformance):
    """The tests that every extension has to pass::

        class TestMixup(ExtensionConformance):
            name = "mixup"

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: its own, in the runs of the suite.
        trainer: what is trained in them: a registered trainer, on 64 images of 32 px.
        trainer_settings: of these runs.
    """

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[ExtensionSpec]:
        """The extension under test."""
        return plugins.extensions.get(self.name)

    def test_a_run_records_it_and_has_it_only_if_asked(
        self, plugins: Plugins, entry: Entry[ExtensionSpec], small: Small, trained: Trained
    ) -> None:
        run = trained.runner.run
        plain = run_until(DiesAt(1, 1), plugins, self._without(small).resolved("without", epochs=1)).run
        recorded = tomllib.loads(run.folder.settings.read_text(encoding="utf-8"))
        extensions = recorded["run"].get("extensions", {})
        mend = "register it with register_extensions alone: not as a module-level wrapper, nor in plugins_for_run"
        rule = "an extension is recorded with its distribution and version, and takes part only if asked for"
        ensure(
            recorded.get("with") and str(entry.provenance) in extensions.values(), rule, str(extensions), mend
        )
        others = [where for where in plain.extensions.values() if where == str(entry.provenance)]
        ensure(not others, rule, f"a run without it has {some(others)}", mend)


class ObserverConformance(_PartConformance):
    """The tests that every observer has to pass::

        class TestNotebook(ObserverConformance):
            name = "notebook"

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: its own, in the runs of the suite.
        trainer: what is trained in them: a registered trainer, on 64 images of 32 px.
        trainer_settings: of these runs.
    """

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[ObserverSpec]:
        """The observer under test."""
        return plugins.observers.get(self.name)

    def test_it_follows_a_run_to_its_report_without_an_error(
        self, plugins: Plugins, small: Small, caplog: pytest.LogCaptureFixture
    ) -> None:
        with keeping("a run with the observer ends with its report", "mend what it raises"):
            make_runner(plugins, small.resolved(epochs=1)).start()
        told = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
        ensure(
            not told,
            "an observer raises in no hook: pneumo drops one that does for the rest of the run",
            "; ".join(told),
            "catch what may fail where it is called, or mend it",
        )

    def test_a_run_is_the_same_with_and_without_it(
        self, plugins: Plugins, small: Small, trained: Trained
    ) -> None:
        resolved = self._without(small).resolved("without", epochs=EPOCHS)
        changed = different(trained.after, values_of(run_until(DiesAt(EPOCHS), plugins, resolved).run.model))
        ensure(
            not changed,
            "an observer changes nothing: a run gives the same bits without it",
            f"{some(changed)} differ",
            "read run, and write to nothing in it; register what changes a run with register_extensions",
        )
