"""Values of ``report.json`` as text for sentences and tables.

Nothing here raises: a report may be of another version, or edited by hand. Metrics have their own digits
(:mod:`pneumo_cli.evaluation.metric_names`).

Contents write ``-0.1`` and ``12 %``, with a hyphen and a space; both renderers set the minus sign and keep the
percent sign on its line with :func:`typeset`. Commands and names of files stay as they are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from pneumo_cli.runtime.json_values import number, text
from pneumo_cli.runtime.percentages import percent as percent
from pneumo_cli.runtime.percentages import share as share

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."
"""Shown with every result."""


def count(value: Any) -> str:
    """A whole number with thousands separators; a dash where there is none."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}"


def typeset(text: str) -> str:
    """Text with minus signs before numbers, and percent signs that stay with theirs.

    >>> typeset("from -0.1 to 12 % or 12%, run-1 of 2026-11-27")
    'from −0.1 to 12\\xa0% or 12\\xa0%, run-1 of 2026-11-27'
    """
    signed = re.sub(r"(?<![\w./\\–-])-(?=\.?\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"(?<=\d) ?%(?!\w)", "\N{NO-BREAK SPACE}%", signed)


def lowered(label: str) -> str:
    """A label inside a sentence: ``accuracy``, but ``ROC AUC``."""
    return label if label[:2].isupper() or label[1:2].isdigit() else label[:1].lower() + label[1:]


def when(value: Any) -> str:
    """An ISO date and time as it is written in English."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return text(value)
    zone = moment.strftime("%Z")
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()


def duration(value: Any) -> str:
    """Seconds in suitable units; empty where there is no number."""
    seconds = number(value)
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def of_hundred(share: float) -> str:
    """A share as images out of 100; "all" or "none" only where it is exactly that."""
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "more than 99 of 100"
    if rounded == 0 and share > 0:
        return "fewer than 1 of 100"
    return "all of 100" if share >= 1 else "none of 100" if share <= 0 else f"about {rounded} of 100"


def in_hundred(ends: tuple[float, float] | None) -> str:
    """The ends of a share's interval as images out of 100, in brackets; empty where there is none."""
    return f" ({round(100 * ends[0])} to {round(100 * ends[1])})" if ends else ""


def listing(parts: Iterable[str]) -> str:
    """Parts of a sentence with commas, and "and" before the last.

    >>> listing(["a"]), listing(["a", "b"]), listing("abc")
    ('a', 'a and b', 'a, b and c')
    """
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def command_text(words: Sequence[Any]) -> str:
    """A recorded command line as it was typed, ready to copy.

    >>> command_text(["/opt/bin/pneumo", "run", "gan", "--images-of", "a b"])
    "pneumo run gan --images-of 'a b'"
    """
    if not words:
        return ""
    program, *arguments = map(text, words)
    # What cannot be typed is said in a remark: Caller.recorded.
    remarks = [word for word in arguments if word.startswith("# ")]
    typed = [word for word in arguments if word not in remarks]
    name = PurePath(program).name
    start = ["python", "-m", "pneumo_cli"] if name == "__main__.py" else [name]
    return " ".join([shlex.join([*start, *typed]), *remarks])
