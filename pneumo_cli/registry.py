"""The registries: installed specs by name, each with its distribution. An ambiguous name is an error."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pneumo_cli.errors import PneumoError, UsageError, named_type, nearest
from pneumo_cli.installation import absent_text, bundled_in, current_name
from pneumo_cli.specs import (
    DatasetSpec,
    ExtensionSpec,
    ExtractorSpec,
    FunctionSpec,
    ModelFamily,
    ModelSpec,
    ObserverSpec,
    SamplerSpec,
    SplitSpec,
    TrainerSpec,
    load_reference,
)

Spec = TypeVar(
    "Spec", TrainerSpec, ModelSpec, ModelFamily, DatasetSpec, ExtensionSpec, ObserverSpec, SplitSpec, SamplerSpec,
    ExtractorSpec, FunctionSpec,
)  # fmt: skip

REGISTERED = "registered"
"""Stands for the distribution of what the running program registered itself (``pneumo_cli.register``)."""

_NOT_REGISTERED = (
    "was registered in a notebook or script: run that code (pneumo.register), and go on there with pneumo.resume, "
    "pneumo.evaluate or pneumo.load"
)


def absent_source(distribution: str) -> str:
    """Why nothing of a source that is no distribution is here; completes "which …". Empty: it is a distribution."""
    if is_file(distribution):
        return "is a plugin file that is not named here: --plugin FILE.py"
    return _NOT_REGISTERED if distribution == REGISTERED else ""


@dataclass(frozen=True)
class Provenance:
    """The distribution that a spec comes from.

    Attributes:
        distribution: its name.
        version: its version.
    """

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()


class PluginFile(NamedTuple):
    """A plugin of one file, which ``--plugin FILE.py`` names. It is not installed, and never found by itself.

    Attributes:
        path: absolute.
        sha256: of its content, hexadecimal.
    """

    path: Path
    sha256: str

    @property
    def module(self) -> str:
        """The name of its module, for references such as ``"probe:Probe"`` in ``probe.py``."""
        name = re.sub(r"\W", "_", self.path.stem)
        return f"_{name}" if name[:1].isdigit() else name

    @property
    def provenance(self) -> Provenance:
        """The file stands for a distribution, and the beginning of its digest for a version."""
        return Provenance(self.path.name, self.sha256[:12])


def is_file(distribution: str) -> bool:
    """Whether a distribution is a plugin of one file (:class:`PluginFile`)."""
    return distribution.endswith(".py")


@dataclass(frozen=True)
class Entry(Generic[Spec]):
    """A registered spec and its provenance.

    Attributes:
        spec: as the plugin registered it.
        provenance: the distribution.
    """

    spec: Spec
    provenance: Provenance

    @property
    def qualified_name(self) -> str:
        """``distribution:name``: never ambiguous."""
        return f"{self.provenance.distribution}:{self.spec.name}"


class Registry(Generic[Spec]):
    """All specs of one kind.

    Args:
        noun: what one entry is called in messages (``trainer``).
        listing: the command that lists them (``pneumo list-trainers``).
    """

    def __init__(self, noun: str, listing: str) -> None:
        self.noun = noun
        self.listing = listing
        self._entries: list[Entry[Spec]] = []

    def add(self, spec: Spec, provenance: Provenance) -> None:
        """Register a spec. Several distributions may register one name; see :meth:`get`.

        Raises:
            ValueError: the same distribution registers the name twice.
        """
        entry = Entry(spec, provenance)
        if any(other.qualified_name == entry.qualified_name for other in self._entries):
            raise ValueError(f"{provenance.distribution} registers the {self.noun} {spec.name!r} twice")
        self._entries.append(entry)

    def discard(self, qualified_name: str) -> None:
        """Forget what is registered under ``distribution:name``, if anything is."""
        self._entries = [entry for entry in self._entries if entry.qualified_name != qualified_name]

    def find(self, name: str) -> list[Entry[Spec]]:
        """The entries that ``name`` or ``distribution:name`` may mean: several if the bare name is ambiguous."""
        return [entry for entry in self._entries if name in (entry.spec.name, entry.qualified_name)]

    def knows(self, name: str) -> bool:
        """Whether ``name`` or ``distribution:name`` is one to look up here. Imports nothing."""
        return any(name in (entry.spec.name, entry.qualified_name) for entry in self._entries)

    def entries(self) -> list[Entry[Spec]]:
        """All entries, by name and then distribution."""
        return sorted(self._entries, key=lambda entry: (entry.spec.name, entry.provenance.distribution))

    def names(self) -> list[str]:
        """The distinct names."""
        return sorted({entry.spec.name for entry in self._entries})

    def named(self) -> dict[str, Entry[Spec]]:
        """All entries by the name that selects each: with its distribution, if several register the bare name."""
        shared = self.conflicts()
        return {e.qualified_name if e.spec.name in shared else e.spec.name: e for e in self.entries()}

    def conflicts(self) -> dict[str, list[Entry[Spec]]]:
        """Names that several distributions register."""
        named: dict[str, list[Entry[Spec]]] = {}
        for entry in self.entries():
            named.setdefault(entry.spec.name, []).append(entry)
        return {name: entries for name, entries in named.items() if len(entries) > 1}

    def ambiguous(self, name: str, entries: Sequence[Entry[Spec]]) -> str:
        """The message about a name that several distributions register."""
        choices = " or ".join(entry.qualified_name for entry in entries)
        sources = " and ".join(str(entry.provenance) for entry in entries)
        return f"the {self.noun} {name!r} is registered by {sources}; choose {choices}"

    def get(self, name: str, *, prefer: str = "") -> Entry[Spec]:
        """Find an entry by ``name`` or ``distribution:name``.

        Args:
            prefer: the distribution that chose the name (a trainer's default model): an ambiguous one means its
                own part, else the bundled part. Empty: a user typed it.

        Raises:
            UsageError: the name is unknown (with the nearest names) or ambiguous (with how to choose).
        """
        if not isinstance(name, str):
            article = "an" if self.noun[0] in "aeiou" else "a"
            raise UsageError(f"{article} {self.noun} is asked for by its name, not {named_type(name)}")
        name = current_name(self.noun, name)
        found = self.find(name)
        for distribution in (prefer, bundled_in(self.noun, name)) if prefer else ():
            if len(found) > 1:
                found = [e for e in found if e.provenance.distribution == distribution] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(self.ambiguous(name, found))
        distribution, _, bare = name.rpartition(":")
        if why := absent_source(distribution):
            source = "" if distribution == REGISTERED else f"comes with {distribution}, which "
            raise UsageError(f"the {self.noun} {bare!r} {source}{why}")
        if not self.knows(name) and (bundled := bundled_in(self.noun, name)):
            raise UsageError(f"the {self.noun} {name!r} {absent_text(bundled)}")
        raise UsageError(
            f"unknown {self.noun} {name!r}; {self._suggestion(name)} "
            f"({self.listing} shows what is installed; install the plugin that brings it)"
        )

    def _suggestion(self, name: str) -> str:
        return nearest(name, self.names())


class ModelRegistry(Registry[ModelSpec]):
    """The models: single ones, and families, whose models are found by name but are not among the entries."""

    def __init__(self) -> None:
        super().__init__("model", "pneumo list-models")
        self.families: list[Entry[ModelFamily]] = []

    def add(self, spec: ModelSpec | ModelFamily, provenance: Provenance) -> None:
        """Register a model or a family.

        Raises:
            ValueError: the same distribution registers the name twice.
        """
        if isinstance(spec, ModelSpec):
            super().add(spec, provenance)
            return
        entry = Entry(spec, provenance)
        if any(other.qualified_name == entry.qualified_name for other in self.families):
            raise ValueError(f"{provenance.distribution} registers the models {spec.name}/ twice")
        self.families.append(entry)

    def discard(self, qualified_name: str) -> None:
        """Forget the model and the family of this name."""
        super().discard(qualified_name)
        self.families = [one for one in self.families if one.qualified_name != qualified_name]

    def search(self, pattern: str) -> dict[str, Entry[ModelSpec]]:
        """All models whose names match a pattern (:mod:`fnmatch`), those of families too, by name.

        Raises:
            UsageError: the models of a family cannot be looked up.
        """
        found = {name: entry for name, entry in self.named().items() if fnmatch.fnmatchcase(name, pattern)}
        for family in self.families:
            for entry in _members(family, pattern):
                shared = len(self._families_of(entry.spec.name)) > 1
                found[entry.qualified_name if shared else entry.spec.name] = entry
        return found

    def find(self, name: str) -> list[Entry[ModelSpec]]:
        """As for every registry; the models of families are looked up.

        Raises:
            UsageError: the models of a family cannot be looked up.
        """
        bare = name.rpartition(":")[2]
        members = (entry for family in self._families_of(name) for entry in _members(family, bare))
        return super().find(name) + [entry for entry in members if entry.spec.name == bare]

    def knows(self, name: str) -> bool:
        """Whether it is the name of a model, or begins as those of a family. Imports nothing."""
        return super().knows(name) or bool(self._families_of(name))

    def _families_of(self, name: str) -> list[Entry[ModelFamily]]:
        distribution, _, bare = name.rpartition(":")
        return [
            family
            for family in self.families
            if bare.startswith(f"{family.spec.name}/")
            and distribution in ("", family.provenance.distribution)
        ]

    def _suggestion(self, name: str) -> str:
        bare = name.rpartition(":")[2]
        for family in self._families_of(name):
            # Of a thousand names only similar ones are worth a line.
            known = [entry.spec.name for entry in _members(family, f"{family.spec.name}/*")]
            similar = difflib.get_close_matches(bare, known)
            listing = f"pneumo list-models {family.spec.name}/ shows {len(known):,} names"
            return nearest(bare, similar) if similar else listing
        return super()._suggestion(name)


def _members(family: Entry[ModelFamily], pattern: str) -> list[Entry[ModelSpec]]:
    """The models of a family whose names match a pattern."""
    spec = family.spec
    try:
        # What a library prints must not spoil `--json`. Not twice: of two threads, one would put back the other's.
        done = sys.stdout is sys.stderr
        with contextlib.nullcontext() if done else contextlib.redirect_stdout(sys.stderr):
            members = list(load_reference(spec.members)(pattern))
        for member in members:
            if not isinstance(member, ModelSpec) or not member.name.startswith(f"{spec.name}/"):
                raise TypeError(f"{spec.members} returned {member!r}, not a model of this family")
    except PneumoError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"the models {spec.name}/ ({family.provenance}) cannot be looked up: {reason}"
        ) from error
    return [Entry(member, family.provenance) for member in members]


class Registries:
    """The registries: what ``pneumo run`` and its flags ``--model``, ``--dataset``, ``--with``, … can name.

    Attributes:
        files: the plugins of one file (``--plugin``), whose parts are among them.
        registered: what the running program registered, such as ``model mine``, without plugins that only observe;
            with the SHA-256 of its code, empty where that cannot be told.
        functions: of ``import pneumo_cli``.
    """

    def __init__(self) -> None:
        self.files: list[PluginFile] = []
        self.registered: dict[str, str] = {}
        self.trainers: Registry[TrainerSpec] = Registry("trainer", "pneumo list-trainers")
        self.models = ModelRegistry()
        self.datasets: Registry[DatasetSpec] = Registry("dataset", "pneumo list-datasets")
        self.extensions: Registry[ExtensionSpec] = Registry("extension", "pneumo list-extensions")
        self.observers: Registry[ObserverSpec] = Registry("observer", "pneumo list-extensions")
        self.splits: Registry[SplitSpec] = Registry("split", "pneumo list-plugins")
        self.samplers: Registry[SamplerSpec] = Registry("sampling", "pneumo list-plugins")
        self.extractors: Registry[ExtractorSpec] = Registry("extractor", "pneumo list-plugins")
        self.functions: Registry[FunctionSpec] = Registry("function", "pneumo list-plugins")

    def registries(self) -> tuple[Registry[Any], ...]:
        """All of them."""
        return tuple(registry for registry in vars(self).values() if isinstance(registry, Registry))

    def why_absent(self, distribution: str) -> str:
        """Why nothing of a distribution is registered, if it is installed, or is a file; completes "which …"."""
        return absent_source(distribution)
