"""Bundles and other exported files: what belongs to them, and reading them.

An exported model is an ``.onnx`` file with its description in its metadata, or a bundle: a folder with
``model.json`` (the same description, and the SHA-256 of each file), the graph, the weights and a model card.
:mod:`pneumo_export.export` writes them. Nothing that is read here can run code: JSON, and a graph for
onnxruntime. A ``torch.export`` program is not read, because torch unpickles parts of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.installation import pip_install
from pneumo_cli.runs.index import BUNDLE

DESCRIPTION = BUNDLE
GRAPH = "model.onnx"
PROGRAM = "model.pt2"
CARD = "README.md"

_OWN = {DESCRIPTION, GRAPH, PROGRAM, CARD, "run.toml", "environment.json"}
_OWN |= {"checkpoints/best.pt", "checkpoints/manifest.json"}
"""Files of every bundle."""


def install_command() -> str:
    """How to install what an export and its graph need."""
    return pip_install("onnx", "onnxscript", "onnxruntime")


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / DESCRIPTION).is_file()


def unrelated_files(path: Path) -> list[str]:
    """The files in a bundle's folder that do not belong to the bundle, as relative names, sorted.

    Those that belong are the files that an export writes and those that the description lists; an empty ``.lock``
    remains when the bundle has been read as a run. For a missing folder the list is empty.
    """
    try:
        described = read_description(path / DESCRIPTION).get("files")
    except PneumoError:  # damaged: then only the files of every bundle count
        described = None
    own = _OWN | set(described if isinstance(described, dict) else ())
    return sorted(
        name
        for file in path.rglob("*")
        if (file.is_symlink() or not file.is_dir())
        and (name := file.relative_to(path).as_posix()) not in own
        and not (name == ".lock" and file.lstat().st_size == 0)
    )


def is_exported(path: Path) -> bool:
    """Whether a path looks like a bundle or an ONNX file.

    Raises:
        UsageError: it is a torch.export program, which could run code.
    """
    if path.suffix.lower() == ".pt2":
        raise UsageError(
            f"{path}: torch.export programs are not read, because torch unpickles parts of them, which can run any "
            "code; use the run, its ONNX file or its bundle"
        )
    return is_bundle(path) or (path.suffix.lower() == ".onnx" and not path.is_dir())


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UsageError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def read_description(path: Path) -> dict[str, Any]:
    """The JSON object in a description's file; empty where it holds another JSON value.

    Raises:
        UsageError: it is missing or cannot be read.
        PneumoError: it is not JSON.
    """
    try:
        described = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: it is not JSON") from error
    return described if isinstance(described, dict) else {}


def check_digest(path: Path, described: Mapping[str, Any]) -> None:
    """Detect damage, not forgery.

    Raises:
        PneumoError: the file is missing, or its SHA-256 is not the description's.
    """
    files = described.get("files")
    entry = files.get(path.name) if isinstance(files, dict) else None
    if not path.is_file():
        raise PneumoError(f"the bundle {path.parent} is damaged: it has no {path.name}")
    if not isinstance(entry, dict) or entry.get("sha256") != file_digest(path):
        raise PneumoError(f"the bundle {path.parent} is damaged: {path.name} does not match {DESCRIPTION}")
