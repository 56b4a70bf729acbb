"""Plugins: the hooks (hookspecs.py), discovery, and the calls of hooks (run_hooks.py)."""

from pneumo_cli._exports import exporting
from pneumo_cli.compat import former_names

__getattr__ = exporting(__name__, otherwise=former_names(__name__))
