"""Settings: what can be set, within which bounds, and where values come from. No torch."""

from pneumo_cli._exports import exporting, make_callable
from pneumo_cli.compat import former_names

__getattr__ = exporting(__name__, otherwise=former_names(__name__))
make_callable(__name__)
