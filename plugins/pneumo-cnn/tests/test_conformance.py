"""The trainer and the model pass their conformance suites."""

from typing import ClassVar

from pneumo_cli.testing import ModelConformance, TrainerConformance


class TestTrainer(TrainerConformance):
    name = "cnn"
    settings: ClassVar = {"image_size": 16, "batch_size": 16}


class TestModel(ModelConformance):
    name = "cnn"
    sizes = (8, 32, 64)
