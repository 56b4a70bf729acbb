"""Runs: a run and its folder, what is kept of it, found again, and known of it."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
