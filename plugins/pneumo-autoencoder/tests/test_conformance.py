"""The trainer and the models pass their conformance suites."""

from typing import ClassVar

from pneumo_cli.testing import ModelConformance, TrainerConformance, TrainerRunConformance


class TestTrainer(TrainerConformance):
    name = "autoencoder"
    settings: ClassVar = {"image_size": 16, "batch_size": 16, "extractor": "pixels"}


class TestVariationalTrainer(TrainerRunConformance):
    name = "autoencoder"
    settings: ClassVar = {
        "model": "vae",
        "image_size": 32,
        "batch_size": 16,
        "channels": 1,
        "latent": 4,
        "width": 4,
        "ema": 0.9,
        "shift": 0.1,
        "brightness": 0.1,
        "fidelity_images": 8,
        "extractor": "pixels",
    }


class TestModel(ModelConformance):
    name = "autoencoder"
    options: ClassVar = {"channels": 3, "size": 16}
    sizes = (16,)


class TestVariationalModel(ModelConformance):
    name = "vae"
    options: ClassVar = {"channels": 1, "size": 32, "latent": 8, "width": 4}
    sizes = (32,)
