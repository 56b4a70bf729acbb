"""Values of ``report.json`` as text for sentences and tables.

Nothing here raises: a report may be of another version, or edited by hand. Metrics have their own digits
(:mod:`pneumo_cli.evaluation.metric_names`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pneumo_cli.runtime.json_values import number, text

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."
"""Shown with every result."""


def count(value: Any) -> str:
    """A whole number with thousands separators; a dash where there is none."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}"


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
