"""The settings themselves: what can be set, in which bounds and units, with which defaults.

What every trainer has (:class:`TrainerSettings`), what the classification trainers share
(:class:`ClassificationSettings`), those among them that begin with pre-trained weights
(:class:`TransferSettings`), and those that make images (:class:`GenerativeSettings`); and what belongs to the
machine and not to the recipe (:class:`MachineSettings`). A trainer derives its own from one of the first four;
its fields become the flags of ``pneumo run NAME``. Where values come from is
:mod:`pneumo_cli.settings.resolve`. Must not import torch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pneumo_cli.settings.renamed import RENAMED

SplitPolicy = Literal["source", "patient", "last", "all"]


class _Settings(BaseSettings):
    """Checked values and nothing else: reading the environment and files is the business of the layers."""

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

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Let a plugin's field that bears the former name of one of ours be ours."""
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
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}")


class TrainerSettings(_Settings):
    """What every trainer has: the recipe. Defaults are the source report's (SOURCE 1 and 2)."""

    model: str = Field("", description="registered model to train; empty: the trainer's own default")
    dataset: str = Field("phantom", description="registered dataset to train on")
    split: SplitPolicy = Field(
        "source",
        description="how the training pool is divided: 'patient' so that no patient and no identical image is on "
        "both sides; as the report does, image by image: 'source' at random, 'last' the last of each class "
        "validate, 'all' none validates",
    )
    validation_fraction: float = Field(
        0.25, gt=0, lt=1, description="share of the training pool that validates"
    )
    split_seed: int = Field(42, ge=0, lt=2**63, description="seed of the split, apart from the run's seed")
    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="cross-validation: one run for each of so many parts of the training pool, patients apart, "
        "which validates on that part (validation_fraction has no say); 0: none",
    )
    fold: int = Field(
        0, ge=0, le=100, description="the part that validates, to run one of the folds alone; 0: all in turn"
    )
    seeds: int = Field(
        1, ge=1, le=100, description="one run for each of so many seeds: seed, seed + 1 and so on"
    )
    evaluate_test: bool = Field(
        True, description="evaluate on the test set when training is over; if not, it stays sealed"
    )
    skip_unreadable: bool = Field(
        False, description="leave unreadable images out, and count them in the report, instead of stopping"
    )
    seed: int = Field(42, ge=0, lt=2**63, description="seed of weights, order, augmentation and dropout")
    epochs: int = Field(20, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(16, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(256, ge=8, le=2048, description="height and width of the input, in pixels")
    accumulate: int = Field(1, ge=1, le=1024, description="steps whose gradients are added up per update")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per update of a moving average of the weights, which is then what is evaluated and "
        "kept; 0: none",
    )
    clip_norm: float = Field(0.0, ge=0, description="largest norm of the gradient; 0: not clipped")

    @model_validator(mode="before")
    @classmethod
    def _folds_keep_patients_together(cls, values: Any) -> Any:
        """Where there are folds and nobody names a split, it is ``patient``."""
        if isinstance(values, dict) and str(values.get("folds", 0)) != "0":
            return {"split": "patient", **values}
        return values

    @model_validator(mode="after")
    def _folds_fit(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds = 1: cross-validation needs at least 2 of them, and 0 means none")
        if self.fold > self.folds:
            raise ValueError(f"fold = {self.fold}: there are {self.folds} folds")
        if self.folds and self.split != "patient":
            raise ValueError(
                f"split = {self.split!r}: with folds, which keep patients apart, it is 'patient'"
            )
        return self


class ClassificationSettings(TrainerSettings):
    """What the binary classification trainers share. Defaults are SOURCE 2 and 4."""

    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="what changes the weights")
    lr: float = Field(
        0.01, gt=0, le=10, description="learning rate; of the head, where layer_decay is below 1"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of the learning rate per stage away from the head; 1: one rate for all",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    weight_decay: float = Field(1e-5, ge=0, le=1, description="weight decay")
    decay_norms: bool = Field(True, description="let biases and normalisation decay as well")
    schedule: Literal["step", "cosine"] = Field(
        "step",
        description="step: the learning rate is cut every lr_step epochs; cosine: it falls to 0 smoothly",
    )
    warmup: float = Field(
        0.0, ge=0, description="epochs over which the learning rate rises before the cosine begins"
    )
    lr_step: int = Field(5, ge=1, description="epochs between two cuts of the learning rate")
    lr_gamma: float = Field(0.5, gt=0, le=1, description="factor of each cut of the learning rate")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label that is spread evenly over the classes"
    )
    subtypes: bool = Field(
        False,
        description="tell the subtypes of PNEUMONIA (bacteria, virus) apart in training; they are evaluated as one",
    )
    weighted_loss: bool = Field(
        True, description="weigh the positive class by NORMAL : PNEUMONIA of the training split"
    )
    augment: bool = Field(True, description="rotate, flip and jitter the training images")
    rotation: float = Field(30.0, ge=0, le=180, description="largest rotation, in degrees")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    brightness: float = Field(0.2, ge=0, le=1, description="largest relative change of brightness")
    contrast: float = Field(0.2, ge=0, le=1, description="largest relative change of contrast")
    zoom: float = Field(0.0, ge=0, lt=0.9, description="largest relative change of scale, crops among it")
    shift: float = Field(0.0, ge=0, le=0.5, description="largest shift, as a share of the side")
    gamma: float = Field(0.0, ge=0, le=2, description="largest change of the logarithm of gamma")
    border: float = Field(
        0.0, ge=0, le=0.5, description="largest width of a collimated border, as a share of the side"
    )
    blur: float = Field(
        0.0, ge=0, le=10, description="largest sigma of a blur, in pixels of an image of 224 px"
    )
    standardize: bool = Field(
        False,
        description="bring each image to the same mean and standard deviation, in training and elsewhere",
    )
    flip_tta: bool = Field(
        False,
        description="average the prediction over each image and its horizontal flip (test-time augmentation)",
    )
    monitor: Literal["accuracy", "auc", "f1", "loss"] = Field(
        "accuracy", description="validation metric that chooses the best checkpoint"
    )
    operating_point: Literal["default", "balanced", "screening", "cost"] = Field(
        "default",
        description="threshold of the reported metrics and of predict, chosen on the validation images: "
        "default: 0.5, as in the report; balanced: the largest sum of sensitivity and specificity; screening: the "
        "wanted sensitivity; cost: the smallest cost",
    )
    wanted_sensitivity: float = Field(
        0.95, gt=0, le=1, description="sensitivity of the operating point screening on the validation images"
    )
    miss_cost: float = Field(
        10.0,
        gt=0,
        le=1_000_000,
        description="cost of a missed image of class 1, in false alarms, for the operating point cost",
    )


class TransferSettings(ClassificationSettings):
    """What the trainers share that begin with a network trained elsewhere. Defaults are SOURCE 5."""

    lr: float = Field(
        0.005, gt=0, le=10, description="learning rate; of the head, where layer_decay is below 1"
    )
    weights: str = Field(
        "imagenet",
        min_length=1,
        description="weights to begin with: imagenet, none, or the path of a state dict or of a run's checkpoint",
    )
    freeze_mode: Literal["strict", "source"] = Field(
        "strict",
        description="strict: what is frozen does not change and is not random; source: as the report, "
        "BatchNorm statistics move and stochastic depth stays on",
    )
    feature_cache: bool = Field(
        True, description="compute what is strictly frozen once per image, and not in every epoch"
    )
    feature_views: int = Field(
        0,
        ge=0,
        le=1000,
        description="augmented views of each training image to compute once and use in turn; 0: with "
        "augmentation, training images pass the frozen part anew in every epoch",
    )


class GenerativeSettings(TrainerSettings):
    """What the generative trainers share: they learn the images of one class (SOURCE 7 and 8)."""

    images_of: str = Field("PNEUMONIA", description="class whose images are learnt; empty: all classes")
    extractor: str = Field(
        "auto",
        min_length=1,
        description="what compares images: pixels, a registered classifier with ImageNet weights, or a run of a "
        "classifier; auto: efficientnet-lite0 where it is installed, else pixels",
    )
    fidelity_images: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="images that are generated at the end to measure their fidelity; 0: none",
    )


class MachineSettings(_Settings):
    """What belongs to the machine: the same for all trainers, and no part of a recipe."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware has it; fp32: exact, for parity"
    )
    devices: int = Field(1, ge=1, le=64, description="processes that share each batch, one device each")
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of each process; 0: one per usable core. On a machine that is busy with other "
        "work fewer are faster. The same number gives the same bits",
    )
    output: Path = Field(Path("runs"), description="folder that receives the run folders")
    cache: Path = Field(
        default_factory=lambda: user_cache_path("pneumo"),
        description="folder of decoded images; may be deleted at any time",
    )
    data_home: Path = Field(
        default_factory=lambda: user_data_path("pneumo"),
        description="folder of imported datasets",
    )
    data_root: Path | None = Field(None, description="folder or zip archive of the dataset's images")
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="an epoch that takes longer is also saved on the way, this often"
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("a device is auto, cpu, cuda, cuda:N or mps")
        return value
