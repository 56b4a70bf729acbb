"""Loading the module of one plugin: from its entry point, or from a file that the command line names.

Whatever runs long, or is interrupted, is named: see :class:`Watch`.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from pneumo_cli.errors import Interrupted, UsageError, with_type
from pneumo_cli.registry import PluginFile, Provenance
from pneumo_cli.runtime.terminal import print_message

HEAVY = (
    *("torch", "torchvision", "timm", "tensorflow", "jax", "transformers", "lightning", "monai"),
    *("pydantic", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "PIL", "cv2", "pydicom", "onnx"),
)
"""Libraries that take so long to import that a plugin should not do so when it is loaded."""

_PATIENCE = 5.0  # seconds until what takes long is named
_NAME_OR_VERSION = re.compile(r"^(Name|Version): (.+?)\s*$", re.MULTILINE)


class Watch:
    """Names what plugins' code is doing: on stderr if it takes long, and in the error after Ctrl-C.

    The thread that waits for the former is there within ``with watch:`` alone.
    """

    def __init__(self) -> None:
        self._doing, self._since = "", 0.0
        self._ended: threading.Event | None = None

    def __enter__(self) -> Watch:
        self._ended = threading.Event()
        threading.Thread(target=self._wait, args=(self._ended,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._ended is not None:
            self._ended.set()

    def now(self, doing: str) -> None:
        """Say what begins: ``loading plugin tiny (pneumo-tiny 1.0)``."""
        self._doing, self._since = doing, time.monotonic()

    @contextlib.contextmanager
    def doing(self, what: str = "") -> Iterator[None]:
        """What is going on, here and until :meth:`now` says something else.

        Raises:
            Interrupted: by Ctrl-C; names it. The exit code is 130.
        """
        outer = self._doing
        self.now(what)
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while {self._doing}" if self._doing else "interrupted", 130
            ) from None
        finally:
            self.now(outer)

    def _wait(self, ended: threading.Event) -> None:
        named = ""
        while not ended.wait(_PATIENCE / 10):
            if self._doing not in ("", named) and time.monotonic() - self._since >= _PATIENCE:
                named = self._doing
                print_message(f"still {named}")


class Cost:
    """What loading a plugin takes: measured within ``with cost:``.

    Attributes:
        seconds: the time.
        heavy: those of :data:`HEAVY` that were imported.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.heavy: tuple[str, ...] = ()

    def __enter__(self) -> None:
        self._start = time.perf_counter()
        self._before = {name for name in HEAVY if name in sys.modules}

    def __exit__(self, *raised: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.heavy = tuple(name for name in HEAVY if name in sys.modules and name not in self._before)


def provenance_of(point: EntryPoint) -> Provenance:
    """The distribution and version that an entry point comes from."""
    distribution = point.dist
    if distribution is None:
        return Provenance("unknown", "unknown")
    # Name and version in one pass: each property of a distribution parses all of its metadata anew.
    header = dict(_NAME_OR_VERSION.findall((distribution.read_text("METADATA") or "").partition("\n\n")[0]))
    if len(header) < 2:
        return Provenance(distribution.name, distribution.version)
    return Provenance(header["Name"], header["Version"])


# --- plugins of one file ---------------------------------------------------------------------------------------

_files: dict[str, ModuleType] = {}  # modules that come from a file, by name


def find_file(path: Path) -> tuple[PluginFile, bytes]:
    """A plugin file and its content.

    Raises:
        UsageError: there is no such file, or it cannot be a module.
    """
    import hashlib

    if path.suffix != ".py":
        raise UsageError(f"--plugin {path}: a plugin file is a Python file, with the suffix .py")
    try:
        if not path.is_file():
            raise UsageError(f"--plugin {path}: there is no such file")
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--plugin {path}: {error.strerror}") from None
    return PluginFile(path.absolute(), hashlib.sha256(source).hexdigest()), source


def import_file(file: PluginFile, source: bytes) -> Any:
    """Import a plugin file as a module of its name, so that references ``"FILE:attribute"`` lead into it.

    Raises:
        UsageError: its name is that of another module, or it cannot be imported.
    """
    import importlib.util

    name = file.module
    known = sys.modules.get(name)
    if known is None or known is not _files.get(name):
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        taken = known is not None or found is not None
        # The folder of the file may be on the path: then it is found, and is no other module.
        if taken and (found is None or found.origin is None or not _same(Path(found.origin), file.path)):
            raise UsageError(f"--plugin {file.path}: there is another module {name!r}; rename the file")
    spec = importlib.util.spec_from_file_location(name, file.path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    _files[name] = sys.modules[name] = module
    try:
        exec(compile(source, str(file.path), "exec", dont_inherit=True), vars(module))  # noqa: S102
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del _files[name], sys.modules[name]
        where = "" if isinstance(error, SyntaxError) else _line(error, str(file.path))
        raise UsageError(f"--plugin {file.path}: {with_type(error)}{where}") from error
    return module


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _line(error: BaseException, file: str) -> str:
    """Where in a file an error was raised: `` (line 3)``."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == file else line
        trace = trace.tb_next
    return f" (line {line})" if line else ""
