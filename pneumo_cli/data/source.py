"""Where a dataset comes from: who registered it, what it was opened with, and the code that reads its images.

What is computed from images is cached under this, too: records say which images there are, not how they are read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from pneumo_cli.data.records import Dataset
from pneumo_cli.runtime.code_digest import code_digest, has_file
from pneumo_cli.specs import load_reference

_MOST_FILES = 500  # of a package whose source is hashed whole; larger ones are libraries
_NOT_HASHED = {"pneumo_cli", *sys.stdlib_module_names}  # the core's own reading has a number, see the caches


def title_of(dataset: Dataset) -> str:
    """The dataset with the distribution that it comes from, for messages."""
    source = dataset.opened_from
    if source is None:
        kind = type(dataset)
        return f"the dataset {getattr(dataset, 'name', kind.__name__)} ({kind.__module__}.{kind.__name__})"
    return f"the dataset {source.entry.spec.name} ({source.entry.provenance})"


def request_identity(dataset: Dataset) -> dict[str, Any]:
    """Which dataset it is, and what it was opened with; JSON-compatible."""
    kind, source = type(dataset), dataset.opened_from
    if source is None:
        return {"dataset": dataset.name, "class": f"{kind.__module__}.{kind.__qualname__}"}
    return {
        "dataset": source.entry.spec.name,
        "distribution": source.entry.provenance.distribution,
        "root": source.root,
        "options": json.dumps(dict(source.options), sort_keys=True, default=str),
    }


def code_identity(dataset: Dataset) -> dict[str, Any]:
    """The code that reads its images: versions, and a hash of its source, which may change without a version.

    Of what a notebook or script defines, a digest of what it is now; if that cannot be told, another one each time.
    """
    modules = [kind.__module__ for kind in type(dataset).__mro__] + list(dataset.reading_modules)
    facts: dict[str, Any] = {}
    parts: list[Any] = [type(dataset)]
    if dataset.opened_from is not None:
        entry = dataset.opened_from.entry
        modules.append(entry.spec.factory.partition(":")[0])
        facts = {"version": entry.provenance.version, "dataset_version": entry.spec.version}
        parts.append(entry.spec.factory)
    in_files = [module for module in modules if has_file(module) or module not in sys.modules]
    if len(in_files) < len(modules):
        values = (load_reference(part) if isinstance(part, str) else part for part in parts)
        facts["session"] = present_code(*values) or uuid.uuid4().hex
    return {**facts, "code": source_digest(in_files)}


def present_code(*values: object) -> str:
    """SHA-256 of the code of objects of this process, and of the source of the modules that it uses.

    Empty: it cannot be told.
    """
    found = code_digest(*values)
    if not found.sha256:
        return ""
    return hashlib.sha256(f"{found.sha256} {source_digest(found.modules)}".encode()).hexdigest()


def source_digest(modules: Iterable[str]) -> str:
    """SHA-256 over the source files of the packages of some modules, imported or not, as hexadecimal.

    Without those of the standard library and of pneumo itself; of a large package only the modules themselves.
    """
    digest = hashlib.sha256()
    by_package: dict[str, list[str]] = {}
    for module in sorted(set(modules)):
        by_package.setdefault(module.partition(".")[0], []).append(module)
    for package in sorted(by_package.keys() - _NOT_HASHED):
        folders, file = _places(package)
        files = [(str(one.relative_to(folder)), one) for folder in folders for one in _sources(folder)]
        if not folders and file:
            files = [(package, Path(file))]
        if len(files) > _MOST_FILES:
            files = [(name, Path(place)) for name in by_package[package] if (place := _places(name)[1])]
        for name, path in sorted(files):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            digest.update(f"{package} {name} {len(content)}\n".encode(errors="replace") + content)
    return digest.hexdigest()


def _sources(folder: Path) -> Iterable[Path]:
    return islice(folder.rglob("*.py"), _MOST_FILES + 1)


def _places(module: str) -> tuple[list[Path], str]:
    """The folders of a package, and the file of a module; empty where it has none. Imports no top-level module."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        folders, file = getattr(loaded, "__path__", ()), getattr(loaded, "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except Exception:  # whatever the package of a module raises that is imported to find it
            spec = None
        folders = (spec.submodule_search_locations if spec else None) or ()
        file = spec.origin if spec and spec.has_location else None
    return [Path(folder) for folder in folders], file or ""
