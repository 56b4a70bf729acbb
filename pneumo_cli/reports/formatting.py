"""How the values of ``report.json`` read in a sentence or a table, whatever is in the file or is not.

Nothing here raises: a report may be of another version, or written by hand. Metrics have digits of their own
(:mod:`pneumo_cli.reports.labels`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pneumo_cli.reports.labels import number

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."
"""What stands wherever a result is shown."""


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping; an empty one where there is none."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The list; an empty one where there is none."""
    return value if isinstance(value, list | tuple) else ()


def text(value: Any) -> str:
    """One line of text; nothing where there is none."""
    return "" if value is None else " ".join(str(value).split())


def value_text(value: Any) -> str:
    """A setting's value as a person would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return text(value) or "(empty)"
    return json.dumps(value, ensure_ascii=False, default=str)


def count(value: Any) -> str:
    """A whole number with its thousands apart; a dash where there is none."""
    known = number(value)
    return "–" if known is None else f"{known:,.0f}"


def lowered(label: str) -> str:
    """A label within a sentence: ``accuracy``, but ``ROC AUC``."""
    return label if label[:2].isupper() or label[1:2].isdigit() else label[:1].lower() + label[1:]


def when(value: Any) -> str:
    """An ISO date and time as people write it."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return text(value)
    zone = moment.strftime("%Z")
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()


def duration(value: Any) -> str:
    """Seconds in the units that fit; nothing where there is no number."""
    seconds = number(value)
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
