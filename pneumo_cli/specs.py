"""What a plugin registers: frozen descriptions, with the heavy parts named and not imported.

A *reference* is a string ``"module:attribute"``. It is imported when a run needs it, so that listing what is
installed costs neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_reference(reference: str) -> Any:
    """Import ``"module:attribute"`` and return the attribute."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _check(spec: Any, *references: str) -> None:
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise ValueError(f"the name {spec.name!r} is not of lower-case words joined by '-'")
    if not isinstance(spec.summary, str) or not spec.summary.strip() or "\n" in spec.summary:
        raise ValueError(f"{spec.name}: the summary has to be one line of text")
    for attribute in references:
        value = getattr(spec, attribute)
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            raise ValueError(f"{spec.name}: {attribute} is {value!r}, not a reference 'module:attribute'")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named set of values for a trainer's settings.

    Attributes:
        fallback: values that hold instead where ``values`` names a model that is not installed and nobody names
            another one; that is said, with ``hint``.
        hint: how to install that model.
    """

    name: str
    summary: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """What ``pneumo run NAME`` runs.

    Attributes:
        name: lower-case words joined by ``-``. summary: one line, shown by ``pneumo list-trainers``. trainer:
        reference to a subclass of :class:`pneumo_cli.trainers.base.Trainer`. settings: reference to a subclass
        of :class:`pneumo_cli.settings.schema.TrainerSettings`; its module must not
            import torch, for it is what ``pneumo run NAME --help`` imports.
        kind: the kind of model that it trains; ``--model`` accepts every registered model of this kind.
        model: the registered name of its default model.
        presets: the first one is the default.
    """

    name: str
    summary: str
    trainer: str
    settings: str
    kind: str
    model: str
    presets: tuple[Preset, ...]

    def __post_init__(self) -> None:
        _check(self, "trainer", "settings")
        if not self.presets:
            raise ValueError(f"{self.name}: a trainer declares at least one preset")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A named factory of an ``nn.Module``.

    Attributes:
        kind: what the module does, and so which trainers can train it. The kinds of the bundled trainers:
            ``classifier``: ``factory(channels: int, outputs: int)`` returns a module that maps float images
            [B, channels, H, W] to logits [B, outputs].
            ``gan``: ``factory(size: int, z_dim: int, width: int)`` returns a module with ``z_dim``, ``generator``
            (noise [B, z_dim] to images [B, 1, size, size] in [-1, 1]) and ``discriminator`` (images to logits [B]);
            ``width`` 0 is the model's own.
            ``autoencoder``: ``factory(channels: int, size: int, latent: int, width: int)`` returns a module with
            ``encode`` (images [B, channels, size, size] in [0, 1] to a latent) and ``decode`` (back again).
            A third party may bring kinds of its own.
        factory: reference to the factory. It may take fewer keywords than its kind's trainers offer; ``name`` is
            offered always, so that one factory can serve a whole table of models.
        weights: reference to ``weights(name: str, progress: Progress) -> Mapping[str, Tensor]``, the state dict
            that training on ImageNet gave the model; the empty string where there is none.
        stages: reference to ``stages(model: nn.Module) -> Sequence[nn.Module]``: the module cut into pieces whose
            composition, in order, is its forward pass and whose last one is the head. Lets frozen pieces be
            computed once. Not needed for an ``nn.Sequential``; without it other modules run as a whole.
        mean, std: what the three channels of its input, grey levels in [0, 1], are normalised with. ImageNet's,
            unless its weights were trained with others.
    """

    name: str
    summary: str
    kind: str
    factory: str
    weights: str = ""
    stages: str = ""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        _check(self, "factory", *(name for name in ("weights", "stages") if getattr(self, name)))
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"{self.name}: mean and std are three numbers each, and every std is positive")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A named source of images with labels and patients.

    Attributes:
        factory: reference to ``factory(request: DatasetRequest) -> Dataset``.
        needs_root: True where the images lie in a folder or archive of the user's (``--data-root``).
        synthetic: True where the images are drawn, not taken.
        download: reference to ``download(target: Path, progress: Progress) -> Path``, which fetches the data and
            returns their root; the empty string where nothing can be downloaded.
        instructions: where a person gets the data and what to do with them: shown when a root is missing or
            a download fails.
    """

    name: str
    summary: str
    factory: str
    needs_root: bool = False
    synthetic: bool = False
    download: str = ""
    instructions: str = ""

    def __post_init__(self) -> None:
        _check(self, "factory")
        if self.download and not _REFERENCE.fullmatch(self.download):
            raise ValueError(
                f"{self.name}: download is {self.download!r}, not a reference 'module:attribute'"
            )


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """An image format, and what turns its files into gray levels.

    Attributes:
        suffixes: of its files, in lower case with the dot; what a folder is searched for.
        magic: how its files begin: it is taken for this format where all (offset, bytes) of one alternative stand
            in the content. Names do not matter. Only the first 512 bytes are looked at.
        decode: reference to ``decode(data: bytes, max_pixels: int) -> uint8 array [H, W]``: gray levels, dark to
            bright, as a viewer would show them. It raises :class:`~pneumo_cli.errors.UnreadableImage` with a short
            reason, before it decodes more than ``max_pixels``; anything else that it raises is a damaged file.
        recognize: reference to ``recognize(data: bytes) -> bool``, asked where the magic bytes alone do not tell;
            the empty string where they do.
        body_part: reference to ``body_part(data: bytes) -> str``: the part of the body, none of the chest, that a
            file says it shows, empty where it says nothing of the kind; the empty string where no file says so.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...]
    magic: tuple[tuple[tuple[int, bytes], ...], ...]
    decode: str
    recognize: str = ""
    body_part: str = ""

    def __post_init__(self) -> None:
        _check(self, "decode", *(name for name in ("recognize", "body_part") if getattr(self, name)))
        if any(not re.fullmatch(r"\.[a-z0-9.]+", suffix) for suffix in self.suffixes):
            raise ValueError(f"{self.name}: suffixes are lower-case with a dot, not {self.suffixes!r}")
        for place, known in (pair for alternative in self.magic for pair in alternative):
            if not 0 <= place <= MAGIC_BYTES - len(known):
                raise ValueError(f"{self.name}: magic bytes lie within the first {MAGIC_BYTES} bytes")

    def begins(self, start: bytes) -> bool:
        """Whether the first bytes of a file are those of this format."""
        return any(
            all(start[place : place + len(known)] == known for place, known in alternative)
            for alternative in self.magic
        )


MAGIC_BYTES = 512
"""How much of a file is looked at to tell its format."""


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """Something that ``pneumo doctor`` looks at.

    Attributes:
        name: lower-case words joined by ``-``; the line's name.
        summary: what it is about, in one line.
        check: reference to ``check() -> str``: what was found, in a line. It raises
            :class:`~pneumo_cli.errors.PneumoError` where something is wrong, with what to do.
    """

    name: str
    summary: str
    check: str

    def __post_init__(self) -> None:
        _check(self, "check")
