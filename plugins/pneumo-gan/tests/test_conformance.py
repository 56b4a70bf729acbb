"""The trainer and the models pass their conformance suites, and the defaults are the report's."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from pneumo_cli.testing import ModelConformance, TrainerConformance, TrainerRunConformance
from pneumo_gan.settings import GanSettings


class TestTrainer(TrainerConformance):
    """Two optimizers, noise and dropout, all of which resume to the same bits."""

    name = "gan"
    settings: ClassVar = {"image_size": 32, "batch_size": 8, "width": 8, "fidelity_images": 0}


class TestStrongSettings(TrainerRunConformance):
    """What the preset ``strong`` sets, on small networks."""

    name = "gan"
    settings: ClassVar = {
        "model": "dcgan",
        "width": 4,
        "image_size": 32,
        "batch_size": 8,
        "split": "patient",
        "keep": "kid",
        "extractor": "pixels",
        "ema": 0.9,
        "r1": 1.0,
        "r1_every": 2,
        "translate": 0.1,
        "brighten": 0.2,
        "lr_ratio": 2.0,
        "fidelity_images": 16,
    }


class _Pair(ModelConformance):
    options: ClassVar = {"channels": 1, "size": 32, "z_dim": 100, "width": 4}
    sizes: ClassVar = (32,)

    def output(self, model: Any, size: int) -> torch.Tensor:
        """The discriminator's logits of four generated images."""
        noise = torch.randn(4, model.z_dim, generator=torch.Generator().manual_seed(0))
        logits = model(noise)
        assert isinstance(logits, torch.Tensor)
        return logits


class TestGan(_Pair):
    name = "gan"


class TestDcgan(_Pair):
    name = "dcgan"


def test_its_defaults_are_the_reports() -> None:
    s = GanSettings()
    assert (s.images_of, s.split, s.image_size, s.z_dim) == ("PNEUMONIA", "all", 32, 100)
    assert (s.lr, s.lr_ratio, s.batch_size, s.epochs, s.keep) == (0.0001, 1.0, 100, 200, "last")
    assert (s.beta1, s.beta2, s.r1, s.translate, s.brighten, s.ema) == (0.9, 0.999, 0.0, 0.0, 0.0, 0.0)
