"""What a plugin registers: frozen descriptions that name their implementation instead of importing it.

A *reference* is a string ``"module:attribute"``. It is imported when it is used, so that listing what is installed
imports neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MODEL_JOINTS = "-_./"  # as in the names that libraries have: vit_small_patch14_dinov2.lvd142m
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
REFERENCE = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def load_reference(reference: str) -> Any:
    """Import ``"module:attribute"`` and return the attribute."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _check(spec: Any, *references: str, optional: tuple[str, ...] = (), joints: str = "-") -> None:
    words = rf"[a-z][a-z0-9]*([{re.escape(joints)}][a-z0-9]+)*"
    if not isinstance(spec.name, str) or not re.fullmatch(words, spec.name):
        allowed = " or ".join(f"'{joint}'" for joint in joints)
        raise ValueError(f"the name {spec.name!r} is not of lower-case words joined by {allowed}")
    if not isinstance(spec.summary, str) or not spec.summary.strip() or _CONTROL.search(spec.summary):
        raise ValueError(f"{spec.name}: the summary has to be one line of text")
    for attribute in (*references, *(name for name in optional if getattr(spec, name))):
        value = getattr(spec, attribute)
        if not isinstance(value, str) or not REFERENCE.fullmatch(value):
            raise ValueError(f"{spec.name}: {attribute} is {value!r}, not a reference 'module:attribute'")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named set of values for a trainer's settings.

    Attributes:
        fallback: used instead, with a message that ends with ``hint``, if ``values`` names a model that is not
            installed and the user names no other.
        hint: how to install that model.
        options: values of the options of datasets (``DatasetSpec.settings``), by the dataset's name, in a run on
            that dataset: ``{"phantom": {"train_images": 5232}}``. Options that it does not have are ignored.
    """

    name: str
    summary: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """What ``pneumo run NAME`` runs.

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line, shown by ``pneumo list-trainers``.
        trainer: reference to a subclass of :class:`pneumo_cli.trainers.base.Trainer`.
        settings: reference to a subclass of :class:`pneumo_cli.settings.schema.TrainerSettings`. Its module must
            not import torch: ``pneumo run NAME --help`` imports it.
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
        name: lower-case words joined by ``-``, ``_``, ``.`` or ``/``.
        kind: what the module does, and so which trainers can train it. Plugins may add kinds. The bundled ones:
            ``classifier``: ``factory(channels: int, outputs: int)`` returns a module that maps float images
            [B, channels, H, W] to logits [B, outputs].
            ``gan``: ``factory(size: int, z_dim: int, width: int)`` returns a module with ``z_dim``, ``generator``
            (noise [B, z_dim] to images [B, 1, size, size] in [-1, 1]) and ``discriminator`` (images to logits [B]);
            ``width`` 0 is the model's own.
            ``autoencoder``: ``factory(channels: int, size: int, latent: int, width: int)`` returns a module with
            ``encode`` (images [B, channels, size, size] in [0, 1] to a latent) and ``decode`` (back again).
        factory: reference to the factory. It may take fewer keywords than its kind's trainers pass; ``name`` is
            always passed, so that one factory can serve several models.
        weights: reference to ``weights(name: str, progress: Progress) -> Mapping[str, Tensor]``, the pretrained
            state dict (``--weights imagenet``); empty: there is none.
        trained_on: what the weights are from, as messages and reports call them: "its ImageNet weights".
        stages: reference to ``stages(model: nn.Module) -> Sequence[nn.Module]``: modules that make up the forward
            pass in order, the head last. Lets the outputs of frozen stages be computed once. Not needed for an
            ``nn.Sequential``; without it other modules run as a whole.
        size: height and width of the images that it was made for, in pixels, named if it takes no others; 0: any.
        mean, std: normalisation of the three input channels, gray levels in [0, 1]; by default ImageNet's.
    """

    name: str
    summary: str
    kind: str
    factory: str
    weights: str = ""
    trained_on: str = "ImageNet"
    stages: str = ""
    size: int = 0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        _check(self, "factory", optional=("weights", "stages"), joints=_MODEL_JOINTS)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"{self.name}: mean and std are three numbers each, and every std is positive")


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """Models of one library, which are looked up when they are named: for more of them than a list should show.

    Attributes:
        name: the models' names begin with ``name/``.
        summary: one line, shown by ``pneumo list-models`` in place of the models.
        kind: of all its models.
        members: reference to ``members(pattern: str) -> Iterable[ModelSpec]``: the models whose names match a
            pattern (``timm/resnet*``, as in :mod:`fnmatch`). Called when a model is named (a name is a pattern that
            only it matches) or listed, so it may import the library. It raises
            :class:`~pneumo_cli.errors.UsageError` if the library is not available.
    """

    name: str
    summary: str
    kind: str
    members: str

    def __post_init__(self) -> None:
        _check(self, "members")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A named source of images with labels and patients.

    Attributes:
        factory: reference to ``factory(request: DatasetRequest) -> Dataset``.
        needs_root: True if the images are in a folder or archive of the user (``--data-root``).
        synthetic: True if the images are generated, not radiographs of patients.
        download: reference to ``download(target: Path, progress: Progress) -> Path``, which returns the data's
            root; empty: there is no download.
        instructions: where to get the data, and how; shown when a root is missing or a download fails.
        settings: reference to a subclass of :class:`pneumo_cli.settings.schema.DatasetSettings`, whose fields are
            the dataset's options: flags of every command that opens it. Its module must not import torch. Empty:
            it has none.
        recognize: reference to ``recognize(names: Sequence[str]) -> bool``: whether files of these names (POSIX
            paths relative to the root) are this dataset, for commands without ``--dataset``. Empty: never.
        version: of what ``Dataset.read`` gives for the same files, to be increased when that changes: decoded
            images of another version are decoded again.
    """

    name: str
    summary: str
    factory: str
    needs_root: bool = False
    synthetic: bool = False
    download: str = ""
    instructions: str = ""
    settings: str = ""
    recognize: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        _check(self, "factory", optional=("download", "settings", "recognize"))
        if type(self.version) is not int or self.version < 1:
            raise ValueError(f"{self.name}: the version is a number from 1, not {self.version!r}")


@dataclass(frozen=True, kw_only=True)
class ExtensionSpec:
    """Something that changes how any trainer's model is trained; off unless ``--with`` asks for it.

    A part of the recipe: recorded in ``run.toml`` with its settings and version, checked when the run is resumed,
    and never left out of a run.

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line, shown by ``pneumo list-extensions``.
        factory: reference to ``factory(settings) -> object``: an object whose hooks take part in the run, made anew
            for each run on every rank. With ``state_dict`` and ``load_state_dict`` it is part of checkpoints.
        settings: reference to a subclass of :class:`pneumo_cli.settings.schema.PartSettings`: flags
            ``--NAME-FIELD``, also ``--FIELD`` where no other setting has this name; the table ``[NAME]`` of
            ``pneumo.toml``. Its module must not import torch. Empty: it has none.
        inside: names of extensions that have to wrap this one, if they take part, too: it is nearer to the trainer.
        conflicts: names of extensions that it cannot be combined with.
    """

    name: str
    summary: str
    factory: str
    settings: str = ""
    inside: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self, "factory", optional=("settings",))
        for attribute in ("inside", "conflicts"):
            names = getattr(self, attribute)
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{self.name}: {attribute} is a tuple of names")


@dataclass(frozen=True, kw_only=True)
class ObserverSpec:
    """Something that follows a run and cannot change it, such as a tracker; off unless ``--with`` asks for it.

    No part of the recipe. One that raises is named and left out of the rest of the run.

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line, shown by ``pneumo list-extensions``.
        factory: reference to ``factory(settings) -> object``: the object whose lifecycle hooks are called.
        settings: as of :class:`ExtensionSpec`.
    """

    name: str
    summary: str
    factory: str
    settings: str = ""

    def __post_init__(self) -> None:
        _check(self, "factory", optional=("settings",))


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """A policy that divides the training pool (``--split NAME``).

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line.
        split: reference to ``split(records: Sequence[Record], fraction: float, seed: int) -> (train, validation)``:
            positions in ``records``, without those of the test pool. Positions in neither are not used.
    """

    name: str
    summary: str
    split: str

    def __post_init__(self) -> None:
        _check(self, "split")


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """A choice of the training images of each epoch (``--sampling NAME``).

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line.
        sample: reference to ``sample(positions, records, seed: int, epoch: int) -> int64 [m]``: the positions of an
            epoch, from those of the training images, int64 [n]. Some may occur several times; m is the same in
            every epoch.
    """

    name: str
    summary: str
    sample: str

    def __post_init__(self) -> None:
        _check(self, "sample")


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """Features in which images are compared (``--extractor NAME``).

    Attributes:
        name: lower-case words joined by ``-``.
        summary: one line.
        factory: reference to ``factory(device: torch.device) -> extractor``, a function of uint8 images [B, S, S]
            on the CPU that returns float32 features [B, F] on the CPU.
    """

    name: str
    summary: str
    factory: str

    def __post_init__(self) -> None:
        _check(self, "factory")


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """A function for notebooks and scripts: ``pneumo_cli.NAME(...)``.

    It returns values, prints nothing on stdout, and what goes wrong is a
    :class:`~pneumo_cli.errors.PneumoError` of one line.

    Attributes:
        name: a Python name in lower case, such as ``compare`` or ``evaluate_images``.
        summary: one line.
        function: reference to the function.
    """

    name: str
    summary: str
    function: str

    def __post_init__(self) -> None:
        _check(self, "function", joints="_")


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """An image format and its decoder.

    Attributes:
        suffixes: of its files, in lower case with the dot, for searching folders.
        magic: alternatives of (offset, bytes), within the first 512 bytes. A file is of this format if all pairs of
            one alternative match its content, whatever its name.
        decode: reference to ``decode(data: bytes, max_pixels: int) -> uint8 array [H, W]``: gray levels, dark to
            bright, as a viewer shows them. It raises :class:`~pneumo_cli.errors.UnreadableImage` with a short
            reason, before it decodes more than ``max_pixels``; any other exception counts as a damaged file.
        recognize: reference to ``recognize(data: bytes) -> bool``, called if the magic bytes match; empty: not
            needed.
        body_part: reference to ``body_part(data: bytes) -> str``: the body part that the file names, if it is not
            the chest, else the empty string; empty: the format has no such entry.
        largest_value: reference to ``largest_value(data: bytes, max_pixels: int) -> int | None``: the largest gray
            value of a file that does not state its depth; None for other files. ``decode`` then takes the argument
            ``bits``, too: the depth that the files of a dataset have in common. Empty: the format states it.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...]
    magic: tuple[tuple[tuple[int, bytes], ...], ...]
    decode: str
    recognize: str = ""
    body_part: str = ""
    largest_value: str = ""

    def __post_init__(self) -> None:
        _check(self, "decode", optional=("recognize", "body_part", "largest_value"))
        if any(not re.fullmatch(r"\.[a-z0-9.]+", suffix) for suffix in self.suffixes):
            raise ValueError(f"{self.name}: suffixes are lower-case with a dot, not {self.suffixes!r}")
        for offset, magic in (pair for alternative in self.magic for pair in alternative):
            if not 0 <= offset <= MAGIC_BYTES - len(magic):
                raise ValueError(f"{self.name}: magic bytes lie within the first {MAGIC_BYTES} bytes")

    def begins(self, start: bytes) -> bool:
        """Whether the first bytes of a file are those of this format."""
        return any(
            all(start[offset:].startswith(magic) for offset, magic in alternative)
            for alternative in self.magic
        )


MAGIC_BYTES = 512
"""How many bytes of a file decide its format."""


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """A check that ``pneumo doctor`` runs.

    Attributes:
        name: lower-case words joined by ``-``; shown with the result.
        summary: one line.
        check: reference to ``check() -> str``, the result in one line. It raises
            :class:`~pneumo_cli.errors.PneumoError` if something is wrong, with what to do.
    """

    name: str
    summary: str
    check: str

    def __post_init__(self) -> None:
        _check(self, "check")
