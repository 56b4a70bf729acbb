"""The registries: installed specs by name, each with its distribution. An ambiguous name is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec

Spec = TypeVar("Spec", TrainerSpec, ModelSpec, DatasetSpec)

_BUNDLED = {
    "pneumo-cnn": {"trainer": "cnn", "model": "cnn"},
    "pneumo-feature-extraction": {"trainer": "feature-extraction"},
    "pneumo-fine-tuning": {"trainer": "fine-tuning"},
    "pneumo-gan": {"trainer": "gan", "model": "gan dcgan"},
    "pneumo-autoencoder": {"trainer": "autoencoder", "model": "autoencoder vae"},
    "pneumo-torchvision": {
        "model": "efficientnet-b0 efficientnet-b1 efficientnet-b2 efficientnet-b3 efficientnet-b4 efficientnet-b5 "
        "efficientnet-b6 efficientnet-b7 resnet18 resnet50 densenet121 convnext-tiny mobilenet-v3-small "
        "mobilenet-v3-large"
    },
    "pneumo-chest-xray": {"dataset": "chest-xray"},
    "pneumo-phantom": {"dataset": "phantom"},
    "pneumo-audit": {"command": "data/audit"},
    "pneumo-compare": {"command": "compare"},
    "pneumo-export": {"command": "export"},
    "pneumo-reproduce": {"command": "reproduce"},
    "pneumo-synthetic": {"command": "generate evaluate-images judge tstr usefulness"},
}
"""What the distributions of this repository contain, so that an error can name the one that is missing."""

_MOVED = {("model", "pneumo-cli"): "pneumo-torchvision"}
"""The present distribution of parts that runs of earlier versions record under another one."""


def bundled_in(noun: str, name: str) -> str:
    """The distribution of this repository that contains a part of this name; empty: none does."""
    bare = name.rpartition(":")[2]
    return next((where for where, parts in _BUNDLED.items() if bare in parts.get(noun, "").split()), "")


def absent_text(distribution: str, why: str = "") -> str:
    """How to get a part whose distribution is not available; completes "the command 'compare' …".

    Args:
        why: see :meth:`Registries.why_absent`.
    """
    why = why or (
        f"is not installed: pip install {distribution} (pneumo list-plugins shows what is installed, disabled or "
        "broken)"
    )
    return f"comes with {distribution}, which {why}"


def current_name(noun: str, qualified_name: str) -> str:
    """The present qualified name of a part that a run of an earlier version may record under another one."""
    distribution, _, name = qualified_name.rpartition(":")
    return f"{_MOVED[noun, distribution]}:{name}" if (noun, distribution) in _MOVED else qualified_name


@dataclass(frozen=True)
class Provenance:
    """The distribution that a spec comes from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()


@dataclass(frozen=True)
class Entry(Generic[Spec]):
    """A registered spec and its provenance."""

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

    def entries(self) -> list[Entry[Spec]]:
        """All entries, by name and then distribution."""
        return sorted(self._entries, key=lambda entry: (entry.spec.name, entry.provenance.distribution))

    def names(self) -> list[str]:
        """The distinct names."""
        return sorted({entry.spec.name for entry in self._entries})

    def named(self) -> dict[str, Entry[Spec]]:
        """All entries by the name that selects each: with its distribution, if several register the bare name."""
        conflicts = self.conflicts()
        return {
            entry.qualified_name if entry.spec.name in conflicts else entry.spec.name: entry
            for entry in self.entries()
        }

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
            prefer: the distribution that an ambiguous bare name means: only for a name that this distribution
                chose (a trainer's default model), never for one that a user typed.

        Raises:
            UsageError: the name is unknown (with the nearest names) or ambiguous (with how to choose).
        """
        name = current_name(self.noun, name)
        found = [e for e in self._entries if name in (e.spec.name, e.qualified_name)]
        if prefer and len(found) > 1:
            found = [e for e in found if e.provenance.distribution == prefer] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(self.ambiguous(name, found))
        if bundled := bundled_in(self.noun, name):
            raise UsageError(f"the {self.noun} {name!r} {absent_text(bundled)}")
        raise UsageError(
            f"unknown {self.noun} {name!r}; {nearest(name, self.names())} "
            f"({self.listing} shows what is installed; pip install the plugin that brings it)"
        )


class Registries:
    """The three registries: what ``pneumo run``, ``--model`` and ``--dataset`` can name."""

    def __init__(self) -> None:
        self.trainers: Registry[TrainerSpec] = Registry("trainer", "pneumo list-trainers")
        self.models: Registry[ModelSpec] = Registry("model", "pneumo list-models")
        self.datasets: Registry[DatasetSpec] = Registry("dataset", "pneumo list-datasets")

    def registries(self) -> tuple[Registry[Any], ...]:
        """All three."""
        return (self.trainers, self.models, self.datasets)

    def why_absent(self, distribution: str) -> str:
        """Why nothing of a distribution is registered, if it is installed; completes "which …"."""
        return ""
