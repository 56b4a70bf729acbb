"""Checkpoints: written atomically, verified when read, and loaded without running code.

A checkpoint holds tensors, plain scalars, lists and dictionaries, and is loaded with ``weights_only=True``. The
manifest in the same folder holds each file's SHA-256, which detects damage (not forgery). It is written *before*
the file is put in place and keeps the previous digest too, so that after a crash at any moment the file on disk
matches one of the two.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, cast

import torch

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic

FORMAT = 1
_MANIFEST = "manifest.json"
_Signature: TypeAlias = tuple[int, int, int, int]


class Checkpoints:
    """The checkpoints of one run, in its folder ``checkpoints``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[str, tuple[_Signature, str]] = {}  # what this object has written, with its digest

    def path(self, name: str) -> Path:
        """The file of the checkpoint ``best`` or ``last``."""
        return self.folder / f"{name}.pt"

    def save(self, name: str, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint. The previous one stays intact until the new one is complete.

        Raises:
            PneumoError: the disk is full or the folder cannot be written.
            TypeError: the state holds something other than tensors and plain values.
        """
        check_plain(state)
        path = self.path(name)
        failures: list[OSError] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic.replace_file(path) as file:
                recording = _Recording(file, failures)
                torch.save({**state, "format": FORMAT}, cast("IO[bytes]", recording))
                file.flush()
                digest = recording.digest.hexdigest()
                manifest = self._manifest()
                manifest[path.name] = {"sha256": digest, "previous": self._replaced(path, manifest)}
                atomic.write_json(self.folder / _MANIFEST, manifest)
                written = _signature(os.fstat(file.fileno()))
            self._written[path.name] = written, digest
        except (OSError, RuntimeError) as error:
            # torch's zip writer replaces the error of a failed write by a RuntimeError about file positions.
            reason = _reason(failures[0] if failures else error)
            raise PneumoError(
                f"the checkpoint {path} cannot be written ({reason}); the previous one is intact"
            ) from error
        return path

    def load(self, name: str, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Read a checkpoint, and verify its digest.

        Raises:
            UsageError: there is none, or its format is that of another version.
            PneumoError: it is damaged.
        """
        path = self.path(name)
        if not path.is_file():
            raise UsageError(f"there is no checkpoint {path}")
        manifest = self.folder / _MANIFEST
        digests = self._manifest().get(path.name, {})
        if "sha256" not in digests:
            problem = "is damaged or has no entry for it" if manifest.is_file() else "is missing"
            raise PneumoError(
                f"the checkpoint {path} cannot be verified: {manifest} {problem}; copy it from the original run"
            )
        if _sha256(path) not in (digests["sha256"], digests.get("previous")):
            raise PneumoError(f"the checkpoint {path} is damaged: it does not match {_MANIFEST}")
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise PneumoError(f"the checkpoint {path} cannot be read: {_reason(error)}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise UsageError(f"the checkpoint {path} was written by another version of pneumo")
        return state

    def digest(self, name: str) -> str:
        """The SHA-256 of a checkpoint as it was written, hexadecimal; empty if there is none."""
        return str(self._manifest().get(self.path(name).name, {}).get("sha256", ""))

    def _replaced(self, path: Path, manifest: Mapping[str, Any]) -> str:
        """The digest of the intact file that is about to be replaced; empty if there is none.

        Not simply the newest digest in the manifest: after a crash, its file may never have been put in place.
        """
        if not path.is_file():
            return ""
        signature, digest = self._written.get(path.name, (None, ""))
        if signature != _signature(path.stat()):
            digest = _sha256(path)
        return digest if digest in manifest.get(path.name, {}).values() else ""

    def _manifest(self) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        entries = content.items() if isinstance(content, dict) else ()
        return {name: digests for name, digests in entries if isinstance(digests, dict)}


class _Recording:
    """A writable file that records why a write failed, and the SHA-256 of what was written, in order."""

    def __init__(self, file: BinaryIO, failures: list[OSError]) -> None:
        self._file = file
        self._failures = failures
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._failures.append(error)
            raise

    def flush(self) -> None:
        self._file.flush()


def check_plain(state: Any, where: str = "state") -> None:
    """Refuse when saving what ``weights_only=True`` would refuse when loading. Raises TypeError."""
    if state is None or isinstance(state, (torch.Tensor, bool, int, float, str)):
        return
    if isinstance(state, Mapping):
        for key, value in state.items():
            if not isinstance(key, (str, int)):
                raise TypeError(f"{where}: the key {key!r} is neither a str nor an int")
            check_plain(value, f"{where}[{key!r}]")
    elif isinstance(state, (list, tuple)):
        for index, value in enumerate(state):
            check_plain(value, f"{where}[{index}]")
    else:
        raise TypeError(f"{where} is a {type(state).__name__}: a checkpoint holds tensors and plain values")


def _signature(status: os.stat_result) -> _Signature:
    """By which a file is recognized that nothing has changed since."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
