"""Trainers: the base classes of tasks (base.py), and opening a run from settings (session.py)."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
