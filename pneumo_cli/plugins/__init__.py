"""Plugins: the hooks, discovery, the hooks of one run; the console and the run's files are plugins themselves."""

from pneumo_cli._exports import exporting
from pneumo_cli.compat import former_names

__getattr__ = exporting(__name__, otherwise=former_names(__name__))
