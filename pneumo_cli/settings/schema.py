"""The settings with their bounds, units and defaults.

The settings of every trainer (:class:`TrainerSettings`), of classification trainers
(:class:`ClassificationSettings`), of those that start from pre-trained weights (:class:`TransferSettings`), and of
generative trainers (:class:`GenerativeSettings`); a trainer derives its own from one of these, and its fields are
the flags of ``pneumo run NAME``. The options of a dataset (:class:`DatasetSettings`), and the settings of the
machine, which are no part of a recipe (:class:`MachineSettings`). :mod:`pneumo_cli.settings.resolve` collects the
values. Must not import torch.

A field of a plugin's class is a setting of one of these types, each of which can be written as a flag, in a file,
in the environment and in ``run.toml``: ``bool``, ``int``, ``float``, ``str``, ``Path``, a ``Literal`` of texts or
whole numbers, an ``Enum`` whose values are such, ``X | None`` with the default None, and lists and tuples of one of
the scalars (``--milestones 10,20``). It has a default, which is within its bounds, and no alias. A class with
another field is refused when it is imported (:mod:`pneumo_cli.settings.classes`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pneumo_cli.runtime.home import expand_home
from pneumo_cli.settings.field_types import type_of
from pneumo_cli.settings.renamed import RENAMED, SWITCHES

_PATHS_OR_NAMES = ("weights", "extractor")  # texts that may be paths


def _folder_of_user(find: Callable[[str], Path], below_root: str) -> Path:
    """A default folder; a user without a home folder, as in some containers, has ``/`` for one."""
    try:
        folder = find("pneumo")
    except RuntimeError:
        return Path(below_root)
    return folder if folder.is_absolute() else Path(below_root)


SplitPolicy: TypeAlias = str
"""The name of a policy: one of pneumo's own, or of a plugin (``SplitSpec``). Looked up when the data are opened."""
SPLITS = ("source", "patient", "last", "all", "given")
SAMPLINGS = ("none", "over", "under")
"""The policies and the choices of training images that pneumo has itself."""


class _Settings(BaseSettings):
    """Validated values only: the environment and files are read by :mod:`pneumo_cli.settings.resolve`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        """Lists, and choices that are no texts, may be given as text."""
        own = type_of(cls, str(info.field_name))
        return value if own is None else own.read(value)

    @field_validator("*")
    @classmethod
    def _home_expanded(cls, value: Any, info: ValidationInfo) -> Any:
        """``~`` of a path is expanded here alone, so that the run and what is recorded of it agree."""
        if isinstance(value, (list, tuple)):
            return type(value)(cls._home_expanded(item, info) for item in value)
        text = isinstance(value, str) and info.field_name in _PATHS_OR_NAMES
        if not (text or isinstance(value, Path)):
            return value
        try:
            return type(value)(expand_home(str(value)))
        except ValueError as error:
            flag, variable = str(info.field_name).replace("_", "-"), str(info.field_name).upper()
            hint = "" if issubclass(cls, PartSettings) else f" (--{flag} or PNEUMO_{variable})"
            raise ValueError(f"{error}{hint}") from None

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Rename a plugin's field that overrides one of ours by its former name."""
        super().__pydantic_init_subclass__(**options)
        fields = cls.__pydantic_fields__
        former = {old: new for old, new in RENAMED.items() if old in fields and new in fields}
        for old, new in former.items():
            fields[new] = fields.pop(old)
            cls.__annotations__.pop(old, None)
        if former:
            cls.model_rebuild(force=True)

    def __getattr__(self, name: str) -> Any:
        """The value of a setting under its former name, for plugins of earlier versions."""
        current = RENAMED.get(name)
        if current in type(self).model_fields:
            return getattr(self, current)
        if name in SWITCHES and SWITCHES[name].name in type(self).model_fields:
            return getattr(self, SWITCHES[name].name) != SWITCHES[name].off
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}")


class TrainerSettings(_Settings):
    """The recipe of any trainer. Defaults are those of the source report (SOURCE 1 and 2).

    Attributes:
        main_settings: names of settings that ``pneumo run NAME --help`` shows besides those that every trainer has
            (dataset, model, epochs, lr, …); ``--help-all`` shows all. None: the first three of the class's own.
    """

    main_settings: ClassVar[tuple[str, ...] | None] = None

    model: str = Field("", description="registered model to train; empty: the trainer's own default")
    dataset: str = Field("phantom", description="registered dataset to train on")
    split: SplitPolicy = Field(
        "source",
        description="how the training pool is divided: 'patient': no patient and no identical image is in both "
        "training and validation; 'given': the dataset's own validation split; image by image, as in the report: "
        "'source' at random, 'last' the last images of each class validate, 'all' all images train",
    )
    validation_fraction: float = Field(0.25, gt=0, lt=1, description="share of the pool used for validation")
    split_seed: int = Field(42, ge=0, lt=2**63, description="seed of the split, apart from the run's seed")
    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="number of folds for cross-validation by patient: one run per fold, which is its validation "
        "set (validation_fraction is ignored); 0: none",
    )
    fold: int = Field(0, ge=0, le=100, description="run only this fold; 0: all folds in turn")
    sampling: str = Field(
        "none",
        min_length=1,
        description="training images of each epoch; none: all, once; over: images of rare classes are repeated "
        "until all classes have as many as the largest; under: only as many of each class as the smallest has, "
        "others in each epoch",
    )
    seeds: int = Field(1, ge=1, le=100, description="number of runs, with the seeds seed, seed + 1 and so on")
    evaluate_test: bool = Field(
        True, description="evaluate on the test set after training; if not, the test set stays sealed"
    )
    skip_unreadable: bool = Field(
        False, description="exclude unreadable images and count them in the report, instead of stopping"
    )
    seed: int = Field(42, ge=0, lt=2**63, description="seed of weights, order, augmentation and dropout")
    epochs: int = Field(20, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(16, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(256, ge=8, le=2048, description="height and width of the input, in pixels")
    accumulate: int = Field(1, ge=1, le=1024, description="steps whose gradients are accumulated per update")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per update of an exponential moving average of the weights, which is evaluated and "
        "saved in place of the weights; 0: none",
    )
    clip_norm: float = Field(0.0, ge=0, description="maximum norm of the gradient; 0: no clipping")

    @model_validator(mode="before")
    @classmethod
    def _folds_keep_patients_together(cls, values: Any) -> Any:
        """With folds the default of ``split`` is ``patient``."""
        if isinstance(values, dict) and str(values.get("folds", 0)) != "0":
            return {"split": "patient", **values}
        return values

    @model_validator(mode="after")
    def _folds_fit(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds = 1: cross-validation needs at least 2; 0 means none")
        if self.fold > self.folds:
            raise ValueError(f"fold = {self.fold}: there are {self.folds} folds")
        if self.folds and self.split != "patient":
            raise ValueError(f"split = {self.split!r}: with folds, which are by patient, use 'patient'")
        return self


class ClassificationSettings(TrainerSettings):
    """Settings of the classification trainers. Defaults are SOURCE 2 and 4."""

    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimizer of the weights")
    lr: float = Field(0.01, gt=0, le=10, description="learning rate (of the head if layer_decay < 1)")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate factor per stage below the head; 1: one rate for all"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    nesterov: bool = Field(True, description="use Nesterov momentum")
    weight_decay: float = Field(1e-5, ge=0, le=1, description="weight decay")
    decay_norms: bool = Field(True, description="apply weight decay to biases and normalisation layers, too")
    schedule: Literal["step", "cosine"] = Field(
        "step", description="of the learning rate; step: times lr_gamma every lr_step epochs; cosine: to 0"
    )
    warmup: float = Field(0.0, ge=0, description="epochs of warm-up of the learning rate before the cosine")
    lr_step: int = Field(5, ge=1, description="epochs between two steps of the learning rate")
    lr_gamma: float = Field(0.5, gt=0, le=1, description="factor of the learning rate at each step")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label that is spread evenly over the classes"
    )
    subtypes: bool = Field(
        False, description="train on the subtypes of class 1, as bacteria and virus; evaluated as one class"
    )
    class_weights: str = Field(
        "balanced",
        min_length=1,
        description="weight of each class in the loss: none; balanced, the same sum of weights for all classes of "
        "the training split (of two classes the positive one is weighted by their ratio, as in the report); or "
        "numbers, as 1,2,0.5 or NAME=2",
    )
    pos_weight: str = Field(
        "",
        description="weight of the positive class, or of images with a label (one number, or one per label), in "
        "place of class_weights; empty: as class_weights says",
    )
    augment: bool = Field(True, description="rotate, flip and jitter the training images")
    rotation: float = Field(30.0, ge=0, le=180, description="maximum rotation, in degrees")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    brightness: float = Field(0.2, ge=0, le=1, description="maximum relative change of brightness")
    contrast: float = Field(0.2, ge=0, le=1, description="maximum relative change of contrast")
    zoom: float = Field(0.0, ge=0, lt=0.9, description="maximum relative change of scale, cropping included")
    shift: float = Field(0.0, ge=0, le=0.5, description="maximum shift, as a share of the side")
    gamma: float = Field(0.0, ge=0, le=2, description="maximum change of the logarithm of gamma")
    border: float = Field(0.0, ge=0, le=0.5, description="maximum collimation border, as a share of the side")
    blur: float = Field(0.0, ge=0, le=10, description="maximum sigma of the blur, in pixels at 224 px")
    standardize: bool = Field(
        False, description="bring every image to the same mean and standard deviation, also in evaluation"
    )
    flip_tta: bool = Field(False, description="horizontal-flip TTA: average over each image and its flip")
    monitor: Literal["accuracy", "auc", "f1", "loss"] = Field(
        "accuracy", description="validation metric that selects the best checkpoint"
    )
    operating_point: Literal["default", "balanced", "screening", "cost"] = Field(
        "default",
        description="how the threshold of the reported metrics and of predict is chosen on the validation images: "
        "default: 0.5, as in the report; balanced: maximum sum of sensitivity and specificity; screening: the "
        "wanted sensitivity; cost: minimum cost",
    )
    wanted_sensitivity: float = Field(
        0.95, gt=0, le=1, description="sensitivity of the operating point screening on the validation images"
    )
    miss_cost: float = Field(
        10.0,
        gt=0,
        le=1_000_000,
        description="cost of a false negative, in false positives, for the operating point cost",
    )


class TransferSettings(ClassificationSettings):
    """Settings of the trainers that start from pre-trained weights. Defaults are SOURCE 5."""

    main_settings: ClassVar[tuple[str, ...] | None] = ("weights",)

    lr: float = Field(0.005, gt=0, le=10, description="learning rate (of the head if layer_decay < 1)")
    weights: str = Field(
        "imagenet",
        min_length=1,
        description="initial weights: imagenet, none, or the path of a state dict or of a run's checkpoint",
    )
    freeze_mode: Literal["strict", "source"] = Field(
        "strict",
        description="strict: frozen layers run in eval mode; source: as in the report, their BatchNorm statistics "
        "are updated and stochastic depth stays active",
    )
    feature_cache: bool = Field(
        True, description="compute the output of strictly frozen layers once per image, not in every epoch"
    )
    feature_views: int = Field(
        0,
        ge=0,
        le=1000,
        description="augmented views of each training image that are computed once and used in turn; 0: with "
        "augmentation, training images pass the frozen layers in every epoch",
    )


class GenerativeSettings(TrainerSettings):
    """Settings of the generative trainers, which learn the images of one class (SOURCE 7 and 8)."""

    main_settings: ClassVar[tuple[str, ...] | None] = ("images_of",)

    images_of: str = Field("PNEUMONIA", description="class to learn; empty: all classes")
    extractor: str = Field(
        "auto",
        min_length=1,
        description="features in which images are compared: pixels, a registered classifier with ImageNet weights, "
        "or a classifier's run; auto: efficientnet-lite0 if installed, else pixels",
    )
    fidelity_images: int = Field(
        1000, ge=0, le=100_000, description="images to generate after training to measure fidelity; 0: none"
    )


class DatasetSettings(_Settings):
    """The options of one dataset; a plugin derives its own (``DatasetSpec.settings``)."""


class PartSettings(_Settings):
    """The settings of an extension or observer; a plugin derives its own (``ExtensionSpec.settings``)."""


class MachineSettings(_Settings):
    """Settings of the machine: the same for all trainers, and no part of a recipe."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N, xpu, xpu:N or mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware supports it; fp32: exact, for parity"
    )
    deterministic: bool = Field(
        False,
        description="only operations that compute the same bits each time, on a GPU too, where they may be slower; "
        "an error where there is none",
    )
    devices: int = Field(1, ge=1, le=64, description="processes that share each batch, one per device")
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of each process; 0: one per usable core. Not given: a new run leaves out cores "
        "that other processes keep busy. The same number gives bit-identical results",
    )
    output: Path = Field(Path("runs"), description="parent of the run folders")
    cache: Path = Field(
        default_factory=lambda: _folder_of_user(user_cache_path, "/.cache/pneumo"),
        description="folder of decoded images; may be deleted at any time",
    )
    data_home: Path = Field(
        default_factory=lambda: _folder_of_user(user_data_path, "/.local/share/pneumo"),
        description="folder of imported datasets",
    )
    data_root: Path | None = Field(None, description="folder or zip archive of the dataset's images")
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints in a long epoch")
    report: bool = Field(
        True,
        description="write the report's pages and figures; without them report.json and the predictions only",
    )
    print_figures: bool = Field(
        False,
        description="write each figure of the report also as PDF and at 300 dpi, which takes some seconds",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", value):
            raise ValueError("a device is auto, cpu, cuda, cuda:N, xpu, xpu:N or mps")
        return value
