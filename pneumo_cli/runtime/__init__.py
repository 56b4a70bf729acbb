"""Runtime: atomic files, seeds, devices, processes, signals, threads, progress."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
