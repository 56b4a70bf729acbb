"""pneumo: a plugin-based task runner for deep learning on chest radiographs.

The public names are those of this package, of :mod:`pneumo_cli.api`, :mod:`pneumo_cli.testing`, and of the
packages that have an ``__init__.pyi``. Everything else may change in any version.
"""

from pneumo_cli._exports import exporting
from pneumo_cli.compat import install

__getattr__ = exporting(__name__)
install()
