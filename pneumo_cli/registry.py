"""What is installed, by name: specs with where each came from, and no silent winner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec


class Named(Protocol):
    """Whatever has a name and a one-line summary."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...


Spec = TypeVar("Spec", bound=Named)

_BUNDLED = {
    "trainer": {
        name: f"pneumo-{name}" for name in ("cnn", "feature-extraction", "fine-tuning", "gan", "autoencoder")
    },
    "model": {
        **dict.fromkeys(("cnn",), "pneumo-cnn"),
        **dict.fromkeys(("gan", "dcgan"), "pneumo-gan"),
        **dict.fromkeys(("autoencoder", "vae"), "pneumo-autoencoder"),
        **dict.fromkeys(
            (
                *(f"efficientnet-b{number}" for number in range(8)),
                *("resnet18", "resnet50", "densenet121", "convnext-tiny"),
                *("mobilenet-v3-small", "mobilenet-v3-large"),
            ),
            "pneumo-torchvision",
        ),
    },
    "dataset": {"chest-xray": "pneumo-chest-xray", "phantom": "pneumo-phantom"},
    "command": {
        "audit": "pneumo-audit",
        "compare": "pneumo-compare",
        "evaluate-images": "pneumo-synthetic",
        "export": "pneumo-export",
        "generate": "pneumo-synthetic",
        "judge": "pneumo-synthetic",
        "reproduce": "pneumo-reproduce",
        "tstr": "pneumo-synthetic",
        "usefulness": "pneumo-synthetic",
    },
}
"""The distributions of this repository by what they bring, so that what is missing can be named."""

_MOVED = {("model", "pneumo-cli"): "pneumo-torchvision"}
"""Where a distribution's part has gone: runs of earlier versions name the first."""


def bundled_in(noun: str, name: str) -> str:
    """The distribution of this repository that brings a part of some name; empty where none does."""
    return _BUNDLED.get(noun, {}).get(name.rpartition(":")[2], "")


def absent_text(distribution: str) -> str:
    """What to do about a part whose distribution is not here; completes "the command 'compare' …"."""
    return (
        f"comes with {distribution}, which is not here: pip install {distribution} "
        "(pneumo list-plugins shows what is installed, disabled or broken)"
    )


def current_name(noun: str, qualified_name: str) -> str:
    """A part's qualified name as it is today, where a run of an earlier version recorded another one."""
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
    """All specs of one sort.

    Args:
        noun: what one entry is called in messages (``trainer``).
        listing: the command that lists them (``pneumo list-trainers``).
    """

    def __init__(self, noun: str, listing: str) -> None:
        self.noun = noun
        self.listing = listing
        self._entries: list[Entry[Spec]] = []

    def add(self, spec: Spec, provenance: Provenance) -> None:
        """Register a spec. Another distribution's equal name is kept beside it; see :meth:`get`.

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

    def conflicts(self) -> dict[str, list[Entry[Spec]]]:
        """Names that several distributions register."""
        named: dict[str, list[Entry[Spec]]] = {}
        for entry in self.entries():
            named.setdefault(entry.spec.name, []).append(entry)
        return {name: entries for name, entries in named.items() if len(entries) > 1}

    def get(self, name: str, *, prefer: str = "") -> Entry[Spec]:
        """Find an entry by ``name`` or ``distribution:name``.

        Args:
            prefer: the distribution that an ambiguous bare name means. Only for a name that this very
                distribution chose (a trainer's default model), never for one that a person typed.

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
            choices = " or ".join(entry.qualified_name for entry in found)
            sources = " and ".join(str(entry.provenance) for entry in found)
            raise UsageError(f"the {self.noun} {name!r} is registered by {sources}; choose {choices}")
        bundled = bundled_in(self.noun, name)
        if bundled:
            raise UsageError(f"the {self.noun} {name!r} {absent_text(bundled)}")
        hint = nearest(name, self.names())
        raise UsageError(
            f"unknown {self.noun} {name!r}; {hint} "
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
        """Why nothing of a distribution is registered, where more is known than that it is not installed.

        Completes "which …"; empty where no more is known.
        """
        return ""
