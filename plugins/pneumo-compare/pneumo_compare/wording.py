"""The results of a comparison in words, which page and terminal share."""

from __future__ import annotations

from pneumo_cli.evaluation.confidence.intervals import Difference
from pneumo_cli.evaluation.metric_names import in_order, lower_is_better, metric_label
from pneumo_cli.reports.formatting import lowered
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_compare.comparison import Comparison
from pneumo_compare.paired import NO_DIFFERENCE, OF_CALLS, PRIMARY, SIGNIFICANT, Pair, Tested

_NOTHING = "no significant difference"
SPOKEN = 3
"""Number of pairs up to which the result has a sentence each."""
_NAMED = 3  # metrics that a sentence names


def verdict(comparison: Comparison) -> str:
    """The result in a few sentences; empty if nothing was tested."""
    pairs = comparison.pairs
    if not pairs:
        return ""
    if len(pairs) <= SPOKEN:
        return " ".join(pair_sentence(comparison, place) for place in pairs)
    differ = [place for place in pairs if _primary(pairs[place]) and pairs[place].metrics[PRIMARY].better]
    first, label = comparison.first.letter, f"{_macro(comparison)}{_in_sentence(PRIMARY)}"
    if not differ:
        return f"In {label} none of the {len(pairs)} runs differs significantly from {first}."
    letters = ", ".join(comparison.runs[place].letter for place in differ)
    return f"In {label} {len(differ)} of the {len(pairs)} runs differ significantly from {first}: {letters}."


def side_by_side(comparison: Comparison) -> str:
    """What is compared without tests; empty if there are some."""
    if comparison.first.scored is not None and comparison.first.images is not None:
        return ""
    return (
        f"{len(comparison.runs)} runs side by side. They are not classifiers, so there are no paired tests, and "
        "one run each does not show which differences are due to chance."
    )


def pair_sentence(comparison: Comparison, place: int) -> str:
    """How one run differs from the baseline."""
    pair, (first, letter) = comparison.pairs[place], _letters(comparison, place)
    if comparison.same_run(place):
        return f"{letter} and {first} are the same run: no difference, p = 1."
    if pair.equal:
        return f"{letter} and {first} predict the same for every image: no difference, p = 1."
    if not pair.metrics:
        return f"All images are of one patient: whether {letter} and {first} differ cannot be tested."
    sentences = []
    if _primary(pair):
        tested = pair.metrics[PRIMARY]
        result = metric_verdict(comparison, place, PRIMARY)
        if result == _NOTHING:
            result += f" between {first} and {letter}"
        numbers = f"{letter} − {first}: {difference_text(PRIMARY, tested.difference)}"
        label = f"{_macro(comparison).capitalize()}{metric_label(PRIMARY).label}"
        sentences.append(f"{label}: {result} [{numbers}, {_both_ps(comparison, tested)}].")
    others = [
        name for name in in_order(pair.significant) if name != PRIMARY and not name.endswith("_calibrated")
    ]
    ahead = [name for name in others if pair.metrics[name].better > 0]
    behind = [name for name in others if pair.metrics[name].better < 0]
    parts = [
        f"{who} is better in {_listed(names)}" for who, names in ((letter, ahead), (first, behind)) if names
    ]
    if parts:
        sentences.append(f"{'Otherwise ' if sentences else ''}{', and '.join(parts)}.")
    elif pair.equal_calls:
        sentences.append("Both classify every image the same.")
    elif sentences:
        sentences.append("They do not differ significantly in any other metric.")
    else:
        sentences.append(f"{first} and {letter} do not differ significantly in any metric.")
    return " ".join(sentences)


def metric_verdict(comparison: Comparison, place: int, metric: str) -> str:
    """The result for one metric."""
    pair, (first, letter) = comparison.pairs[place], _letters(comparison, place)
    tested = pair.metrics[metric]
    if comparison.same_run(place):
        return "the same run"
    if tested.difference == NO_DIFFERENCE:
        same = "predictions" if pair.equal else "predicted classes" if metric in OF_CALLS else "scores"
        return f"no difference: the same {same}"
    if not tested.better:
        if tested.difference.p < SIGNIFICANT:
            return f"{_NOTHING}, adjusted for {_family(comparison, metric)} tests"
        return _NOTHING
    winner = letter if tested.better > 0 else first
    word = "better" if lower_is_better(metric) is not None else "higher"
    return f"{winner} is {word} by {_size(metric, tested)}"


def difference_text(metric: str, difference: Difference) -> str:
    """A difference with its interval, in the digits of its metric.

    >>> difference_text("auc", Difference(0.0121, -0.0004, 0.0199, 0.04))
    '+0.012 (0.000 to +0.020)'
    """
    if difference == NO_DIFFERENCE:
        return "0"
    value, low, high = (_signed(metric, end) for end in difference[:3])
    return f"{value} ({low} to {high})"


def p_text(p: float) -> str:
    """A p in a table.

    >>> p_text(0.0004), p_text(0.0312), p_text(1.0)
    ('< 0.001', '0.031', '1')
    """
    return "< 0.001" if p < 0.001 else "1" if p == 1 else f"{p:.3f}"


def p_clause(p: float) -> str:
    """A p in a sentence, after the letter p."""
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


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


def _letters(comparison: Comparison, place: int) -> tuple[str, str]:
    return comparison.first.letter, comparison.runs[place].letter


def class_verdict(comparison: Comparison, place: int, name: str) -> str:
    """The result for the ROC AUC of one class."""
    one, (first, letter) = comparison.pairs[place].classes[name], _letters(comparison, place)
    if one.better:
        return f"{letter if one.better > 0 else first} is better by {_size(PRIMARY, one)}"
    if one.difference.p < SIGNIFICANT:
        return f"{_NOTHING}, adjusted for {comparison.tests['classes']} tests"
    return _NOTHING


def _macro(comparison: Comparison) -> str:
    return "macro " if comparison.classes else ""


def _primary(pair: Pair) -> bool:
    return PRIMARY in pair.metrics


def _family(comparison: Comparison, metric: str) -> int:
    return comparison.tests["primary" if metric == PRIMARY else "other"]


def _size(metric: str, tested: Tested) -> str:
    value, low, high, _ = tested.difference
    ends = (low, high) if value > 0 else (-high, -low)
    digits = metric_label(metric).digits
    return f"{abs(value):.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def _signed(metric: str, value: float) -> str:
    digits = metric_label(metric).digits
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


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
