"""Whether the winner's lead is more than chance: the best two settings again, with further seeds.

Both are trained with the same seeds, so their differences are paired. The seed of the sweep is not among them: with
it the winner was chosen, partly for its luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumo_cli.evaluation.confidence.bounds import t_quantile
from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_sweep.plan import SEEDS, Plan
from pneumo_sweep.study import FINISHED, STATES, Slot, Stage


def ranked(plan: Plan, stage: Stage) -> list[int]:
    """The numbers of the finished trials, the best first; of equals the one with the smaller number."""
    done = [
        trial for trial in stage.trials() if STATES.get(trial.state) == FINISHED and trial.value is not None
    ]
    return [
        trial.number for trial in sorted(done, key=lambda one: (-plan.sign * (one.value or 0.0), one.number))
    ]


def seed_slots(plan: Plan, trials: Stage) -> list[Slot]:
    """The repetitions: both settings with a seed, then with the next; none with fewer than two finished trials."""
    best = ranked(plan, trials)[:2]
    if len(best) < 2:
        return []
    settings = [trials.trials()[number].user_attrs["settings"] for number in best]
    return [
        Slot({**own, "seed": seed}, f"{SEEDS}/{number:03}-seed-{seed}")
        for seed in range(plan.seed + 1, plan.seed + 1 + plan.with_seeds)
        for number, own in zip(best, settings, strict=True)
    ]


def compare(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the two settings over the seeds that both have finished.

    Args:
        rows: of the repetitions: ``folder``, ``seed``, ``value`` (None: not finished), the winner's first.

    Returns:
        ``seeds``, ``winner`` and ``runner_up`` (values by seed), ``difference`` (positive: the winner is better),
        ``interval`` (95 %, Student's t; None with fewer than two seeds), ``smallest`` (half its
            width: smaller leads cannot be told from chance), ``text``.
    """
    values: dict[int, list[float | None]] = {}
    for row in rows:
        values.setdefault(int(row["seed"]), []).append(row["value"])
    pairs = {seed: own for seed, own in values.items() if len(own) == 2 and None not in own}
    winner, runner_up = ([own[place] for own in pairs.values()] for place in (0, 1))
    differences = plan.sign * (np.array(winner, dtype=np.float64) - np.array(runner_up, dtype=np.float64))
    n = len(pairs)
    mean = float(differences.mean()) if n else None
    half = None
    if n >= 2:
        half = t_quantile(n - 1) * float(differences.std(ddof=1)) / math.sqrt(n)
    interval = None if half is None or mean is None else [mean - half, mean + half]
    found = {
        "seeds": list(pairs),
        "winner": winner,
        "runner_up": runner_up,
        "difference": mean,
        "interval": interval,
        "smallest": half,
    }
    return {**found, "text": sentence(plan, found)}


def sentence(plan: Plan, found: Mapping[str, Any]) -> str:
    """What the repetitions say, and what they cannot."""
    n, mean, interval = len(found["seeds"]), found["difference"], found["interval"]
    if mean is None or interval is None:
        return "Fewer than two further seeds are finished for both settings, so nothing can be said about chance."
    metric = plan.metric
    label = metric_label(metric).label
    ends = f"95 % interval {metric_text(metric, interval[0])} to {metric_text(metric, interval[1])}"
    better = f"is better by {metric_text(metric, abs(mean))} on average"
    lead = f"With {n} further seeds the winner's {label} {better} ({ends})"
    if mean < 0:
        lead = f"With {n} further seeds the runner-up's {label} {better} (lead of the winner: {ends})"
    images = "All runs were validated on the same images, so this says nothing about other images."
    if found["smallest"] == 0 and mean == 0:
        return f"With each of {n} further seeds both settings have the same {label}. {images}"
    if interval[0] > 0:
        return f"{lead}: the lead is more than the chance of a seed. {images}"
    if interval[1] < 0:
        return f"{lead}: the winner was lucky. {images}"
    smallest = metric_text(metric, found["smallest"])
    return (
        f"{lead}: this may be chance; {n} seeds can only tell a lead above about {smallest} from it. {images}"
    )
