"""The settings of the trainer ``cnn``: those of every classification trainer, at the report's values."""

from __future__ import annotations

from pneumo_cli.settings import ClassificationSettings


class CnnSettings(ClassificationSettings):
    """Task 1. Of the learning rates 0.03, 0.01, 0.001 and 0.0001 the report found 0.01 best (SOURCE 4)."""
