"""Sources of batches."""

import numpy as np
import torch

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs
from pneumo_cli.data.loader import Loader

IMAGES = torch.arange(64, dtype=torch.uint8).view(4, 4, 4)
CPU = torch.device("cpu")


def test_batches_have_the_requested_memory_format() -> None:
    inputs = ImageInputs(IMAGES, EvaluationTransform(), CPU, torch.channels_last)
    batches = Loader(inputs, torch.arange(4), np.arange(4), 4, CPU, shuffle_seed=None)
    assert next(iter(batches)).images.is_contiguous(memory_format=torch.channels_last)


def test_flipped_views_follow_the_unflipped_images() -> None:
    plain = ImageInputs(IMAGES, EvaluationTransform(channels=1, mean=(0.0,), std=(1.0,)), CPU)
    both = FlipTTA(plain)(np.array([2, 0]), 0)
    assert torch.equal(both[:2], plain(np.array([2, 0]), 0))
    assert torch.equal(both[2:], both[:2].flip(-1))
