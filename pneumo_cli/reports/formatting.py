"""How the values of ``report.json`` read in a sentence or a table, whatever is in the file or is not.

Nothing here raises: a report may be of another version, or written by hand. Metrics have digits of their own
(:mod:`pneumo_cli.reports.labels`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pneumo_cli.runtime.json_values import number, text

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."
"""What stands wherever a result is shown."""


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
