"""Feature: the source report's five tasks, run anew and compared with the report's numbers."""
