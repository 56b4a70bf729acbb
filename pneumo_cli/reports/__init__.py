"""Reports: figures, tables and pages, made from what was measured (run_report.py)."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
