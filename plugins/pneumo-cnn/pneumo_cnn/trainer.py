"""The trainer ``cnn``: binary classification as the core has it, from random weights."""

from __future__ import annotations

from pneumo_cli.trainers import ClassificationTrainer


class CnnTrainer(ClassificationTrainer):
    """Task 1 of the report. Everything that it does, the other classification tasks do too."""
