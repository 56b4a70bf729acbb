"""A bundle's README: a model card (Mitchell et al. 2019).

Everything in it comes from the run's report and the exported model's description; nothing is measured here. It
contains nothing about single images and patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.reports.formatting import count
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.runtime.percentages import share
from pneumo_export import class_card, value_card
from pneumo_export.description import AnyDescription, Description, ValueDescription

_METRICS = (
    *(
        "auc",
        "average_precision",
        "accuracy",
        "balanced_accuracy",
        "recall",
        "specificity",
        "precision",
        "f1",
    ),
    *("mcc", "brier_calibrated", "ece_calibrated"),
)
_RATES = {"recall": "Sensitivity", "specificity": "Specificity", "precision": "PPV", "npv": "NPV"}

USE = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["pneumo"])
size, rule = about["input"]["size"], about["rule"]
threshold = next(point["cut"] for point in rule["points"] if point["name"] == rule["chosen"])
for name in sys.argv[1:]:
    LOAD
    (logit,), (probability,) = session.run(["logit", "probability"], {"images": images})
    print(f"{name}: {about['classes'][int(logit >= threshold)]} ({about['classes'][1]} {100 * probability:.1f} %)")
"""
"""Use of an exported graph without pneumo: run in a bundle's folder, with image files as arguments."""

_LOAD = {
    (1, 8): (
        'image = Image.open(name).convert("L").resize((size, size), Image.Resampling.BILINEAR)',
        "[None, None] / 255",
    ),
    (1, 16): (
        'image = Image.open(name).convert("I").resize((size, size), Image.Resampling.BILINEAR)',
        "[None, None] / 65535",
    ),
    (3, 8): (
        'image = Image.open(name).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)',
        ".transpose(2, 0, 1)[None] / 255",
    ),
}
"""How Pillow and NumPy make the graph's input of a file, by channels and bits."""


def results(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report's results of the exported weights, by split: metrics, intervals, operating points; of each class.

    Args:
        report: content of ``report.json``; may be empty.
    """
    by_split = {}
    for split, metrics in mapping(report.get("evaluations")).items():
        details = mapping(mapping(report.get("details")).get(split))
        points = mapping(details.get("operating_points"))
        by_split[split] = {
            "metrics": dict(mapping(metrics)),
            "intervals": dict(mapping(mapping(report.get("intervals")).get(split))),
            "operating_points": {name: dict(mapping(point)) for name, point in points.items()},
            **({"classes": details["classes"]} if "classes" in details else {}),
        }
    return by_split


def model_card(description: AnyDescription, report: Mapping[str, Any]) -> str:
    """Write the card, in Markdown.

    Args:
        report: content of ``report.json``; empty where the run's report is missing.
    """
    facts = description.facts
    blocks = [
        f"# {text(facts.get('title'))}",
        f"**{text(facts.get('notice'))}**",
        f"A network ({text(facts.get('model'))}, {text(facts.get('model_from'))}, {count(facts.get('parameters'))} "
        f"parameters) that {_purpose(description)} from a frontal chest radiograph. Exported by pneumo "
        f"{text(facts.get('pneumo'))} from the {text(facts.get('checkpoint'))} checkpoint of the run "
        f"{text(facts.get('run'))}, epoch {count(facts.get('epoch'))}.",
        "## Intended use and limits",
        _limits(description, report),
        "## Data",
        _data(description, report),
        "## Results",
        _results(description),
        *_decisions(description),
        "## Caveats",
        _caveats(report),
        "## Use",
        _use(description),
        "## Files",
        "- `model.onnx`: the graph, its description in its metadata. `model.pt2`: the same for "
        '`torch.export.load("model.pt2").module()`; torch unpickles parts of such a file, so load it only from a '
        "source that you trust.\n"
        f"- `model.json`: the description: {_described(description)}, results, and the SHA-256 of each file.\n"
        "- `checkpoints/`, `run.toml`, `environment.json`: weights, settings and versions of the run.",
        "## Licence",
        f"pneumo is under the Apache License 2.0. These weights were trained on the data named above"
        f"{_pretrained(report)}, whose terms apply to them; state a licence when you share the bundle.",
    ]
    return "\n\n".join(blocks) + "\n"


def _decisions(description: AnyDescription) -> tuple[str, ...]:
    if isinstance(description, ValueDescription):
        return ()
    return "## Calibration and operating points", _operating_points(description)


def _described(description: AnyDescription) -> str:
    if isinstance(description, ValueDescription):
        return "input, what is predicted"
    return (
        "input, classes, calibration, operating points, detectors of out-of-distribution images and of wrong "
        "orientations"
    )


def _purpose(description: AnyDescription) -> str:
    if isinstance(description, ValueDescription):
        return value_card.purpose(description)
    rule = description.rule
    if isinstance(rule, MultiRule):
        return class_card.purpose(rule)
    negative, positive = rule.classes
    return f"predicts the probability of {positive}, against {negative},"


def _scope(description: AnyDescription) -> tuple[str, str]:
    """What the network cannot tell, and what its predictions hold for."""
    if isinstance(description, ValueDescription):
        return value_card.limits(description)
    rule = description.rule
    if isinstance(rule, MultiRule):
        return class_card.limits(rule)
    negative, positive = rule.classes
    return (
        f"It distinguishes only {negative} and {positive}, and predicts one of them for any image.",
        f"Its probability is calibrated for the prevalence of {positive} in its validation images "
        f"({share(rule.prevalence)}); at a lower prevalence it is too high."
        if rule.is_calibrated
        else "Its probability is not calibrated.",
    )


def _limits(description: AnyDescription, report: Mapping[str, Any]) -> str:
    scope, calibrated = _scope(description)
    origin = mapping(report.get("dataset")).get("origin")
    lines = [
        "For research and teaching on how such networks learn, err and can be compared. Not for patients: it has "
        "not been tested in a clinic, and no authority has approved it.",
        scope,
        "It was trained on images of one source"
        + (f" ({text(origin).rstrip('.')})" if origin else "")
        + ". On images of another hospital, device, age group or view its results may be worse than those below.",
        calibrated,
    ]
    if isinstance(description, Description) and description.rule.ood_detector is not None:
        lines.append(
            "`pneumo predict` flags out-of-distribution images"
            + (" and images in a wrong orientation" if description.rule.orientation is not None else "")
            + ". The graph alone does not: it predicts a class even for a photograph."
        )
    return "\n".join(f"- {line}" for line in lines)


def _data(description: AnyDescription, report: Mapping[str, Any]) -> str:
    dataset = mapping(report.get("dataset"))
    split = mapping(dataset.get("split"))
    name = text(description.facts.get("dataset")).rpartition(":")[2]
    facts = (name, text(dataset.get("origin") or dataset.get("summary")))
    lines = [": ".join(fact for fact in facts if fact).rstrip(".") + "."]
    if dataset.get("synthetic"):
        lines.append("**These images are synthetic: no patient is behind them.**")
    lines.append(
        f"Fingerprint `{text(description.facts.get('data_fingerprint'))}`, images of {description.images.size} px, "
        f"split by the policy `{text(split.get('policy'))}`."
    )
    rows = [mapping(row) for row in sequence(split.get("rows"))]
    classes = description.rule.classes if isinstance(description, Description) else ()
    if rows:
        head = ("Split", "Images", "Patients", *classes)
        body = [
            (
                text(row.get("split")),
                count(row.get("images")),
                count(row.get("patients")),
                *(count(mapping(row.get("counts")).get(name)) for name in classes),
            )
            for row in rows
        ]
        return " ".join(lines) + "\n\n" + _table(head, body)
    return " ".join(lines)


def _results(description: AnyDescription) -> str:
    by_split = mapping(description.facts.get("results"))
    if not by_split:
        return "These weights were not evaluated, or the run's report is missing."
    splits = [name for name in ("validation", "test") if name in by_split] or list(by_split)
    metrics: Sequence[str] = _METRICS
    if isinstance(description, ValueDescription):
        metrics = value_card.metrics(by_split[split] for split in splits)
    rows = []
    for metric in metrics:
        cells = [class_card.metric_cell(mapping(by_split[split]), metric) for split in splits]
        if any(cell != "–" for cell in cells):
            rows.append((metric_label(metric).label, *cells))
    if isinstance(description, ValueDescription):
        table = _table(("", *(split.capitalize() for split in splits)), rows)
        return f"{table}\n\n{value_card.NOTE}"
    rule = description.rule
    note = (
        "With 95 % intervals over patients. The checkpoint, the calibration and the operating points were chosen "
        "on the validation images alone, without the test images. Metrics that depend on a threshold are those at "
        "the run's own operating point."
    )
    if not isinstance(rule, MultiRule):
        return f"{_table(('', *(split.capitalize() for split in splits)), rows)}\n\n{note}"
    blocks = [_table(("Macro average", *(split.capitalize() for split in splits)), rows)]
    for split in splits:
        own = class_card.class_rows(mapping(by_split[split]))
        if own:
            blocks += [f"Each class against the rest, {split}:", _table(class_card.class_head(), own)]
    return "\n\n".join([*blocks, note])


def _operating_points(description: Description) -> str:
    rule = description.rule
    results = mapping(mapping(description.facts.get("results")).get("test"))
    if isinstance(rule, MultiRule):
        blocks = [class_card.fitted(rule)]
        if rule.is_calibrated:
            shares = ("Class", "Validation images", "Temperature", "Bias")
            blocks.append(_table(shares, class_card.calibration_rows(rule)))
        blocks.append(_table(class_card.point_head(), class_card.point_rows(rule, results)))
        return "\n\n".join(blocks)
    test = mapping(results.get("operating_points"))
    rows = []
    for point in rule.points:
        metrics = mapping(mapping(test.get(point.name)).get("metrics"))
        rates = (number(metrics.get(name)) for name in _RATES)
        rows.append(
            (
                f"`{point.name}`" + (" (in use)" if point.name == rule.chosen else ""),
                f"{point.logit_threshold:.4f}",
                f"{rule.probability_at(point):.3f}",
                *("–" if value is None else f"{value:.3f}" for value in rates),
                point.rule,
            )
        )
    head = ("Point", "Logit", "Probability", *(f"{name}, test" for name in _RATES.values()), "Chosen")
    fitted = (
        "The probability is the sigmoid of logit / temperature + bias, with the temperature "
        f"{rule.calibration.temperature:.4f} and the bias {rule.calibration.bias:+.4f} (part of the graph). Both "
        f"were fitted on {rule.images:,} validation images, of which {share(rule.prevalence, 1)} were "
        f"{rule.classes[1]}; for another prevalence p, add log(p / (1 - p)) and subtract that of this one "
        "(`pneumo predict --prevalence p` does). "
        if rule.is_calibrated
        else "The probability was not calibrated on validation images: it is the sigmoid of the logit. "
    )
    return (
        f"{fitted}{rule.classes[1]} is predicted where the logit is at least the operating point's.\n\n"
        + _table(head, rows)
    )


def _caveats(report: Mapping[str, Any]) -> str:
    if not report:
        return "The run's report is missing, and with it its caveats."
    caveats = [text(mapping(caveat).get("text")) for caveat in sequence(report.get("caveats"))]
    return "\n".join(f"- {caveat}" for caveat in caveats if caveat) or "None of pneumo's checks found one."


def _use(description: AnyDescription) -> str:
    checks = "; ".join(
        f"{text(check.get('runtime'))}: {number(check.get('largest_difference')) or 0:.1e} on "
        f"{count(check.get('images'))} images"
        for check in map(mapping, sequence(description.facts.get("checks")))
    )
    images = description.images
    clipped = '`convert("L")` clips 16-bit images: scale these to 8 bits first. ' if images.usual else ""
    what = "logits" if isinstance(description, Description) else "outputs"
    return (
        f"With pneumo: `pneumo predict THIS_FOLDER image.png …`. {_program(description)}"
        f"{clipped}The graph takes float32 [batch, {images.channels}, size, size] from 0 to 1. The largest "
        f"difference of its {what} from the run's in fp32, measured at export: {checks}."
    )


def _program(description: AnyDescription) -> str:
    images = description.images
    load = _LOAD.get((images.channels, images.bits))
    if load is None:
        return ""
    opened, scaled = load
    if isinstance(description, ValueDescription):
        program = value_card.USE
    else:
        program = class_card.USE if isinstance(description.rule, MultiRule) else USE
    program = program.replace("LOAD", f"{opened}\n    images = np.asarray(image, np.float32){scaled}")
    return f"Without it, in this folder, with onnxruntime, NumPy and Pillow:\n\n```python\n{program}```\n\n"


def _pretrained(report: Mapping[str, Any]) -> str:
    settings = map(mapping, sequence(report.get("settings")))
    weights = text({text(entry.get("name")): entry.get("value") for entry in settings}.get("weights"))
    return f" and from pretrained weights ({weights})" if weights and weights != "none" else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
