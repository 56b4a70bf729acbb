"""The sentences about a sweep, for the page, the terminal and notebooks, from the content of ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text
from pneumo_cli.reports.formatting import count, lowered
from pneumo_cli.runtime.json_values import mapping
from pneumo_sweep.study import FAILED, FINISHED, PRUNED
from pneumo_sweep.worker import settings_text

OPTIMISTIC = "The best of several validation values is optimistic: part of its lead is luck."


def winner_sentence(content: Mapping[str, Any]) -> str:
    """Which trial won, and by which value."""
    winner, metric = content["winner"], content["metric"]
    label = lowered(metric_label(metric).label)
    states = [row["state"] for row in content["trials"]]
    others = [f"{states.count(state)} {state}" for state in (PRUNED, FAILED) if state in states]
    of = f"{states.count(FINISHED)} finished trials" + (f" ({', '.join(others)})" if others else "")
    ends = interval_text(metric, winner["interval"], " to ")
    value = metric_text(metric, winner["value"]) + (f" (95 % interval {ends})" if ends else "")
    return (
        f"Of {of}, trial {winner['trial']} has the best validation {label}, {value}: "
        f"{settings_text(winner['settings'])}. {OPTIMISTIC}"
    )


def test_sentence(content: Mapping[str, Any]) -> str:
    """The winner on the test images."""
    test = mapping(content["test"])
    metrics = mapping(test.get("metrics"))
    if not metrics:
        return "The test images are sealed: no trial was evaluated on them."
    metric = content["metric"] if content["metric"] in metrics else next(iter(metrics))
    ends = interval_text(metric, mapping(test.get("intervals")).get(metric), " to ")
    value = metric_text(metric, metrics[metric]) + (f" (95 % interval {ends})" if ends else "")
    return (
        f"On the {count(test.get('images'))} test images, which no choice was made by, its "
        f"{lowered(metric_label(metric).label)} is {value}."
    )


def seeds_sentence(content: Mapping[str, Any]) -> str:
    """What further seeds say about the winner's lead; empty: there are none."""
    return str(mapping(content["seeds"]).get("text", ""))
