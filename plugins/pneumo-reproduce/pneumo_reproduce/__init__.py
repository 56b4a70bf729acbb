"""Feature: the source report's five tasks, run anew and compared with the report's numbers."""

PRESET = "source"
"""The preset of a new reproduction, if none is named: as of each trainer's run."""
