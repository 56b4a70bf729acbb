"""The trainer and the model pass pneumo's conformance suites."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from pneumo_cli.testing import ModelConformance, TrainerConformance

SMALL = {
    "image_size": 32,
    "batch_size": 16,
    "width": 8,
    "diffusion_steps": 50,
    "sampling_steps": 2,
    "fidelity_images": 0,
    "extractor": "pixels",
    "warmup": 2,
}


class TestDiffusion(TrainerConformance):
    """All classes, with guidance. The average of the weights, and one class, are in test_diffusion.py."""

    name = "diffusion"
    settings: ClassVar = {**SMALL, "images_of": "", "guidance": 2.0, "ema": 0.0}


class TestUNet(ModelConformance):
    name = "denoising-unet"
    options: ClassVar = {"channels": 1, "size": 32, "classes": 2, "width": 8}
    sizes: ClassVar = (32,)

    def output(self, model: Any, size: int) -> torch.Tensor:
        """The predicted velocities of four images."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(4, 1, size, size, generator=generator)
        result: torch.Tensor = model(images, torch.linspace(0, 1, 4), torch.tensor([0, 1, 2, 0]))
        return result
