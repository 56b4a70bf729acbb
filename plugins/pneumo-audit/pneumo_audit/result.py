"""The result of an audit as Python values, and where its page may be written."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from pneumo_audit.audit import LEAK_HEAD, Audit, leak_rows, shift_sentence, verdict
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.workflows.report_view import Card, ShownAsCard
from pneumo_cli.workflows.tables import Table

_TITLE = "<title>Audit of "
"""In the head of every page that an audit has written."""


class AuditResult(ShownAsCard):
    """What :func:`pneumo_cli.audit` returns; a notebook shows it.

    Args:
        audit: the findings.

    Attributes:
        written: the page that was written; None: none was.
    """

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.written: Path | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """Everything: what ``pneumo data audit --json`` prints."""
        return self.audit.plain()

    @property
    def clean(self) -> bool:
        """Whether nothing leaks: no patient and no image is in two splits."""
        return self.audit.clean

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        return verdict(self.audit)

    @property
    def findings(self) -> list[str]:
        """A sentence for each leak, and for each class that can be told from how its images are stored."""
        return [*self.audit.problems(), *self.audit.shortcuts()]

    @property
    def leaks(self) -> Table:
        """A row for each pair of splits: how many patients and images they share."""
        return Table(
            {name: len(value) if isinstance(value, list) else value for name, value in leak.items()}
            for leak in self.content["leaks"]
        )

    def page(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``audit.html`` and ``audit.json`` into a new or empty folder; returns the page.

        Args:
            overwrite: whether an earlier audit there is replaced.

        Raises:
            UsageError: the folder holds something else, or cannot be written.
            PneumoError: writing failed.
        """
        from pneumo_audit.page import PAGE, write_audit

        out = Path(folder)
        check_target(out, overwrite=overwrite)
        try:
            write_audit(self.audit, out)
        except OSError as error:
            raise PneumoError(f"the audit cannot be written to {out}: {error.strerror}") from error
        self.written = out / PAGE
        return self.written

    def _card(self) -> Card:
        rows = leak_rows(self.audit.shown_leaks())
        data = self.audit.data
        return Card(
            f"Audit of {data.dataset.name}, split by {data.split.policy}",
            facts=f"{len(data.dataset.records):,} images",
            sentence=" ".join(filter(None, (self.verdict, shift_sentence(self.audit)))),
            columns=dict(zip(LEAK_HEAD, map(list, zip(*rows, strict=True)), strict=True)),
            numeric=LEAK_HEAD[1:],
            remarks={"Findings": self.findings},
            files={} if self.written is None else {"page": self.written},
        )


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check, before the audit, that it may be written into a folder.

    Args:
        target: new, empty, or the folder of an earlier audit, whose other files are left alone.
        overwrite: whether an earlier audit may be replaced.

    Raises:
        UsageError: it may not.
    """
    if os.path.lexists(target) and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    try:
        if target.is_dir() and any(target.iterdir()):
            if not _holds_audit(target):
                raise UsageError(
                    f"the folder {target} holds other files and no earlier audit: name a new or empty one "
                    "with --out"
                )
            if not overwrite:
                raise UsageError(
                    f"the folder {target} is not empty: name another one with --out, or replace its audit with "
                    "--overwrite"
                )
        atomic.try_folder(target)
    except OSError as error:
        raise UsageError(f"the folder {target} cannot be written: {error.strerror}") from error


def _holds_audit(folder: Path) -> bool:
    """Whether the files that an audit would replace are an earlier audit's.

    Raises:
        OSError: one of them cannot be read.
    """
    content, page = folder / "audit.json", folder / "audit.html"
    if not content.is_file() or (os.path.lexists(page) and not page.is_file()):
        return False
    try:
        values = json.loads(content.read_text(encoding="utf-8"))
        title = page.read_text(encoding="utf-8").partition("</title>")[0] if page.exists() else _TITLE
    except ValueError:  # not text, or not JSON
        return False
    return isinstance(values, dict) and {"fingerprint", "leaks", "shift"} <= values.keys() and _TITLE in title
