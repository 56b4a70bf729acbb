"""pneumo: a plugin-based task runner for deep learning on chest radiographs.

In a notebook: ``import pneumo_cli as pneumo``, then ``pneumo.run("cnn", preset="quick")``. The functions have the
names of the commands; plugins add further ones (:class:`~pneumo_cli.specs.FunctionSpec`).

Warnings and notices go to the logger ``"pneumo"``, and with the progress to stderr if the program has not
configured logging; what matters of them is in the results, too. Nothing else of the process changes: random
numbers, numbers of threads, warnings and signal handlers are after a call as before; calls in several threads take
turns.

The public names are those of this package, of :mod:`pneumo_cli.api`, :mod:`pneumo_cli.testing`, and of the
packages that have an ``__init__.pyi``. Everything else may change in any version.
"""

from typing import Any

from pneumo_cli import runs as runs  # packages that are functions too: the names mean both from the start
from pneumo_cli import settings as settings
from pneumo_cli import trainers as trainers
from pneumo_cli._exports import exporting, has_name, public_names
from pneumo_cli.compat import install


def _of_plugins(name: str) -> Any:
    # `from pneumo_cli import data` asks for an attribute first: it is not worth loading the plugins.
    if name.startswith("_") or has_name(__name__, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pneumo_cli.workflows.plugin_functions import find

    return find(name)


def __dir__() -> list[str]:
    from pneumo_cli.workflows.plugin_functions import names

    return [*public_names(__name__), *names()]


_find = exporting(__name__, _of_plugins)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pneumo-cli")
    return _find(name)


install()
