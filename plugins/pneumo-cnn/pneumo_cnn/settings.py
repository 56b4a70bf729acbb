"""The settings of the trainer ``cnn``: those of every classification trainer, with the report's values."""

from __future__ import annotations

from pneumo_cli.settings import ClassificationSettings


class CnnSettings(ClassificationSettings):
    """Task 1. The report compared learning rates on the validation images and found 0.01 best (SOURCE 4)."""
