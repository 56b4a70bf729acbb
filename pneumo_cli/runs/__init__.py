"""Runs: a run (run.py), its folder, checkpoints and records; lists and groups of runs."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
