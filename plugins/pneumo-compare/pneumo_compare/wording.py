"""The results of a comparison in words, which page and terminal share."""

from __future__ import annotations

from pneumo_cli.evaluation.confidence.paired import (
    NO_DIFFERENCE,
    OF_CALLS,
    PRIMARY,
    SIGNIFICANT,
    Tested,
    difference_text,
    p_clause,
    p_text,
)
from pneumo_cli.evaluation.metric_names import in_order, lower_is_better, metric_label
from pneumo_cli.reports.formatting import listing, lowered
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_compare.comparison import Comparison, Places

_NOTHING = "no significant difference"
_NAMED = 3  # metrics that a sentence names


def verdict(comparison: Comparison) -> str:
    """The result in a few sentences; empty if nothing was tested."""
    pairs = comparison.pairs
    if not pairs:
        return ""
    if len(pairs) == 1:
        return " ".join(pair_sentence(comparison, places) for places in pairs)
    beaten: dict[str, list[str]] = {}
    for places, pair in pairs.items():
        first, second = _names(comparison, places)
        if PRIMARY in pair.metrics and (better := pair.metrics[PRIMARY].better):
            winner, other = (second, first) if better > 0 else (first, second)
            beaten.setdefault(winner, []).append(other)
    label, tests = f"{_macro(comparison)}{_in_sentence(PRIMARY)}", comparison.tests["primary"]
    if not beaten:
        if comparison.all_pairs:
            return f"In {label} no pair of the {len(comparison.runs)} runs differs significantly."
        return (
            f"In {label} none of the {len(pairs)} runs differs significantly from {comparison.first.label}."
        )
    parts = [f"{winner} is significantly better than {listing(others)}" for winner, others in beaten.items()]
    return f"In {label} {listing(parts)} (adjusted for {tests} tests)."


def side_by_side(comparison: Comparison) -> str:
    """What is compared without tests; empty if there are some."""
    if comparison.first.scored is not None and comparison.first.images is not None:
        return ""
    return (
        f"{len(comparison.runs)} runs side by side. They are not classifiers, so there are no paired tests, and "
        "one run each does not show which differences are due to chance."
    )


def pair_sentence(comparison: Comparison, places: Places) -> str:
    """How the second run of a pair differs from the first."""
    pair, (first, second) = comparison.pairs[places], _names(comparison, places)
    if comparison.same_run(places):
        return f"{second} and {first} are the same run: no difference, p = 1."
    if pair.equal:
        return f"{second} and {first} predict the same for every image: no difference, p = 1."
    if not pair.metrics:
        return f"All images are of one patient: whether {second} and {first} differ cannot be tested."
    sentences = []
    if PRIMARY in pair.metrics:
        sentences.append(_primary_sentence(comparison, places))
    others = [
        name for name in in_order(pair.significant) if name != PRIMARY and not name.endswith("_calibrated")
    ]
    ahead = [name for name in others if pair.metrics[name].better > 0]
    behind = [name for name in others if pair.metrics[name].better < 0]
    parts = [
        f"{who} is better in {_listed(names)}" for who, names in ((second, ahead), (first, behind)) if names
    ]
    if parts:
        sentences.append(f"{'Otherwise ' if sentences else ''}{', and '.join(parts)}.")
    elif pair.equal_calls:
        sentences.append("Both classify every image the same.")
    elif sentences:
        sentences.append("They do not differ significantly in any other metric.")
    else:
        sentences.append(f"{first} and {second} do not differ significantly in any metric.")
    return " ".join(sentences)


def _primary_sentence(comparison: Comparison, places: Places) -> str:
    """The result for the primary metric, with its difference, interval and p."""
    tested, (first, second) = comparison.pairs[places].metrics[PRIMARY], _names(comparison, places)
    label, ps = f"{_macro(comparison)}{metric_label(PRIMARY).label}", _both_ps(comparison, tested)
    label = label[:1].upper() + label[1:]
    if tested.better:
        winner, other = (second, first) if tested.better > 0 else (first, second)
        return f"{label}: {winner} is better than {other} by {_size(PRIMARY, tested)}, {ps}."
    result = metric_verdict(comparison, places, PRIMARY)
    if not result.startswith(_NOTHING):
        return f"{label}: {result}."
    difference = difference_text(PRIMARY, tested.difference)
    return f"{label}: no significant difference between {first} and {second}: {difference}, {ps}."


def metric_verdict(comparison: Comparison, places: Places, metric: str) -> str:
    """The result for one metric, beside its difference."""
    pair, (first, second) = comparison.pairs[places], _names(comparison, places)
    tested = pair.metrics[metric]
    if comparison.same_run(places):
        return "the same run"
    if tested.difference == NO_DIFFERENCE:
        same = "predictions" if pair.equal else "predicted classes" if metric in OF_CALLS else "scores"
        return f"no difference: the same {same}"
    if not tested.better:
        if tested.difference.p < SIGNIFICANT:
            return f"{_NOTHING}, adjusted for {_family(comparison, metric)} tests"
        return _NOTHING
    word = "better" if lower_is_better(metric) is not None else "higher"
    return f"{second if tested.better > 0 else first} is {word}"


def cautions(comparison: Comparison) -> tuple[str, ...]:
    """The caveats of this comparison."""
    runs = comparison.runs
    caveats = []
    if comparison.pairs:
        caveats.append(
            "These p values are for other patients like these, and for exactly these networks. They do not "
            "cover other seeds: trained again with another seed, each run would give different "
            "results. Whether one recipe is better than another takes several seeds of both."
        )
    if any(mapping(run.report.get("dataset")).get("synthetic") for run in runs):
        caveats.append("Synthetic data: these images are generated, and no patient is behind them.")
    if comparison.split == "validation":
        caveats.append(
            "Each run chose its best epoch and its operating points on the validation images: metrics on "
            "them are too good, the more so the more epochs a run has."
        )
    accesses = max(int(number(mapping(run.report.get("test_access")).get("count")) or 0) for run in runs)
    if comparison.split == "test" and accesses > len(runs):
        caveats.append(
            f"There were {accesses} evaluations on this test set: what was chosen by their results is no longer "
            "independent of it. Choose on the validation images (--split validation)."
        )
    if len({text(mapping(run.report.get("dataset")).get("fingerprint")) for run in runs}) > 1:
        caveats.append(
            "The images have the same names and labels, but the datasets are not identical: other files, or other "
            "images in addition to these."
        )
    if len({_split_key(run.report) for run in runs}) > 1:
        caveats.append("The runs were trained on different images: their splits differ (see the settings).")
    return tuple(caveats)


def _split_key(report: object) -> tuple[str, ...]:
    split = mapping(mapping(mapping(report).get("dataset")).get("split"))
    rows = [mapping(row) for row in sequence(split.get("rows"))]
    count = next((text(row.get("images")) for row in rows if row.get("split") == "train"), "")
    return text(split.get("policy")), text(split.get("seed")), text(split.get("fraction")), count


def _names(comparison: Comparison, places: Places) -> tuple[str, str]:
    first, second = comparison.of(places)
    return first.label, second.label


def class_verdict(comparison: Comparison, places: Places, name: str) -> str:
    """The result for the ROC AUC of one class, beside its difference."""
    one, (first, second) = comparison.pairs[places].classes[name], _names(comparison, places)
    if one.better:
        return f"{second if one.better > 0 else first} is better"
    if one.difference.p < SIGNIFICANT:
        return f"{_NOTHING}, adjusted for {comparison.tests['classes']} tests"
    return _NOTHING


def _macro(comparison: Comparison) -> str:
    return "macro " if comparison.classes else ""


def _family(comparison: Comparison, metric: str) -> int:
    return comparison.tests["primary" if metric == PRIMARY else "other"]


def _size(metric: str, tested: Tested) -> str:
    value, low, high, _ = tested.difference
    ends = (low, high) if value > 0 else (-high, -low)
    digits = metric_label(metric).digits
    return f"{abs(value):.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def _both_ps(comparison: Comparison, tested: Tested) -> str:
    p = f"p {p_clause(tested.difference.p)}"
    tests = comparison.tests["primary"]
    return p if tests <= 1 else f"{p}, or {p_text(tested.p)} adjusted for {tests} tests"


def _in_sentence(metric: str) -> str:
    label = metric_label(metric).label
    return label if label.startswith("Brier") else lowered(label)


def _listed(metrics: list[str]) -> str:
    """Some of them by name, and how many more."""
    names = [_in_sentence(name) for name in metrics[:_NAMED]]
    if len(metrics) > _NAMED:
        names.append(f"{len(metrics) - _NAMED} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
