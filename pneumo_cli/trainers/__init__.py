"""Trainers: the base classes of tasks (base.py), and opening a run from settings (session.py)."""

from pneumo_cli._exports import exporting, make_callable

__getattr__ = exporting(__name__)
make_callable(__name__)
