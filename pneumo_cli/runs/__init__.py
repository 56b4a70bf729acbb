"""Runs: a run (run.py), its folder, checkpoints and records; lists and groups of runs."""

from pneumo_cli._exports import exporting, make_callable

__getattr__ = exporting(__name__)
make_callable(__name__)
