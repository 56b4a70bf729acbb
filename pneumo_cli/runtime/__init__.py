"""Runtime: files that survive, seeds, devices, processes, signals, threads, progress. Knows no images."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
