"""A digest of what a notebook cell defines, with everything that it uses.

It is of compiled code, so that it needs no source, and comments do not matter. Functions and classes of modules
that have a file are not followed: their modules are named, whose files can be hashed.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

_ATOMS = (type(None), type(...), bool, int, float, complex, str)
_WRAPPERS = (classmethod, staticmethod, type(functools.cache(len)))
_OF_CLASSES = ("__slots__", "__annotations__", "__pydantic_fields__")
"""Attributes of a class with a name of Python's form that decide what it does, and are no plain values."""
_PLAIN = (*_ATOMS, bytes, tuple, property, classmethod, staticmethod)
_NOT_OF_CLASSES = ("__doc__", "__firstlineno__", "__static_attributes__")


class CodeDigest(NamedTuple):
    """What some objects are.

    Attributes:
        sha256: hexadecimal; empty: they depend on something whose content cannot be told, such as an open file.
        modules: names of the modules that they use.
    """

    sha256: str
    modules: frozenset[str]


def code_digest(*values: object) -> CodeDigest:
    """The digest of functions, classes and other values: their code, and the values that this code finds by name.

    Equal in every process with this version of Python, where the values are.
    """
    walk = _Walk()
    try:
        for value in values:
            walk.visit(value)
    except Exception:  # of objects that cannot be pickled, or that raise when they are asked
        return CodeDigest("", frozenset(walk.modules))
    return CodeDigest(walk.hash.hexdigest(), frozenset(walk.modules))


def has_file(module: str | None) -> bool:
    """Whether the source of a module is in a file, or in Python itself; not that of a notebook or script."""
    if module is None or module == "__main__":
        return False
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    return bool(getattr(sys.modules.get(module), "__file__", None))


class _Walk:
    """Goes through values, each once."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.modules: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._seen: list[object] = []  # so that no other object gets the identity of one that is gone

    def visit(self, value: Any) -> None:
        if isinstance(value, _ATOMS) and type(value) in _ATOMS:
            self._put(type(value).__name__, repr(value))
        elif isinstance(value, (bytes, bytearray)):
            self._put("bytes", str(len(value)))
            self.hash.update(value)
        elif isinstance(value, CodeType):
            self._code(value)
        elif type(value) is tuple:
            self._several("tuple", value)
        elif id(value) in self._numbers:
            self._put("again", str(self._numbers[id(value)]))
        else:
            self._numbers[id(value)] = len(self._numbers)
            self._seen.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
            self._put("module", value.__name__)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif type(value) is list:
            self._several("list", value)
        elif type(value) is dict:
            self._several("dict", [part for item in value.items() for part in item])
        elif isinstance(value, (set, frozenset)):
            self._several("set", sorted(value, key=repr))
        elif isinstance(value, MethodType):
            self._several("method", (value.__self__, value.__func__))
        elif isinstance(value, property):
            self._several("property", (value.fget, value.fset, value.fdel))
        elif isinstance(value, functools.cached_property):
            self._several("property", (value.func,))
        elif isinstance(value, BuiltinFunctionType):
            self._put("builtin", str(value.__module__), value.__qualname__)
        elif isinstance(value, _WRAPPERS):
            self._several(type(value).__name__, (value.__wrapped__,))
        else:
            self._instance(value)

    def _put(self, *texts: str) -> None:
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            self.hash.update(b"%d " % len(encoded) + encoded)

    def _several(self, what: str, values: Any) -> None:
        self._put(what, str(len(values)))
        for value in values:
            self.visit(value)

    def _code(self, code: CodeType) -> None:
        self._put(
            "code", code.co_name, str(code.co_flags), str(code.co_argcount), str(code.co_kwonlyargcount)
        )
        self._several("names", (*code.co_names, *code.co_varnames, *code.co_freevars))
        self.visit(code.co_code + code.co_exceptiontable)
        for constant in code.co_consts:
            self.visit(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)

    def _function(self, function: FunctionType) -> None:
        self._put("function", function.__qualname__)
        module = function.__globals__.get("__name__")  # `functools.wraps` changes `__module__`
        if has_file(module):
            self.modules.add(str(module))
        else:
            self.visit(function.__code__)
            names, imported = _names(function.__code__)
            self.modules |= imported
            for name in sorted(names):
                if name in function.__globals__:
                    self._put(name)
                    self.visit(function.__globals__[name])
        self.visit(function.__defaults__)
        self.visit(function.__kwdefaults__)
        if attributes := vars(function):
            self.visit(attributes)
        for cell in function.__closure__ or ():
            try:
                self.visit(cell.cell_contents)
            except ValueError:  # it is empty
                self._put("empty")

    def _class(self, kind: type) -> None:
        self._put("class", kind.__qualname__)
        if has_file(kind.__module__):
            self.modules.add(kind.__module__)
            return
        self._several("bases", (type(kind), *kind.__bases__))
        for name, value in sorted(vars(kind).items()):
            if not name.startswith("__"):
                counts = name != "_abc_impl"
            elif name.startswith("__pydantic_") or name in _NOT_OF_CLASSES:
                counts = name in _OF_CLASSES
            else:  # without what Python derives from the others
                counts = name in _OF_CLASSES or isinstance(value, _PLAIN) or callable(value)
            if counts:
                self._put(name)
                self.visit(value)

    def _instance(self, value: Any) -> None:
        self.visit(type(value))
        reduced = value.__reduce_ex__(4)
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None)
            self._put("named", str(module), reduced)
            if has_file(module):
                self.modules.add(str(module))
            return
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        self._several("instance", parts)


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """The global names that some code reads, and the modules that it imports; those of functions within it too."""
    names: set[str] = set()
    imported: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            imported.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _names(constant)
            names |= inner[0]
            imported |= inner[1]
    return names, imported
