"""A bundle's README: a model card (Mitchell et al. 2019) from what the run knows of itself.

Everything in it comes from the run's report and the exported model's description; nothing is measured here. What a
report says of single images and patients stays out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.formatting import count
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

if TYPE_CHECKING:
    from pneumo_export.bundle import Description

_METRICS = (
    "auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "brier_calibrated",
    "ece_calibrated",
)
_SHARES = {"recall": "Sensitivity", "specificity": "Specificity", "precision": "PPV", "npv": "NPV"}

USE = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["pneumo"])
size, rule = about["input"]["size"], about["rule"]
threshold = next(point["logit_threshold"] for point in rule["points"] if point["name"] == rule["chosen"])
for name in sys.argv[1:]:
    image = Image.open(name).convert("L").resize((size, size), Image.Resampling.BILINEAR)
    images = np.asarray(image, np.float32)[None, None] / 255
    (logit,), (probability,) = session.run(["logit", "probability"], {"images": images})
    print(f"{name}: {about['classes'][int(logit >= threshold)]} ({about['classes'][1]} {probability:.1%})")
"""
"""How an exported graph is used without pneumo: run in a bundle's folder, with image files as arguments."""


def results(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a report measured of the exported weights, by split: metrics, intervals, operating points.

    Args:
        report: content of ``report.json``; may be empty.
    """
    found = {}
    for split, metrics in mapping(report.get("evaluations")).items():
        points = mapping(mapping(mapping(report.get("details")).get(split)).get("operating_points"))
        found[split] = {
            "metrics": dict(mapping(metrics)),
            "intervals": dict(mapping(mapping(report.get("intervals")).get(split))),
            "operating_points": {name: dict(mapping(point)) for name, point in points.items()},
        }
    return found


def model_card(description: Description, report: Mapping[str, Any]) -> str:
    """Write the card, in Markdown.

    Args:
        report: content of ``report.json``; may be empty, for a run whose report is lost.
    """
    facts, rule = description.facts, description.rule
    negative, positive = rule.classes
    parts = [
        f"# {text(facts.get('title'))}",
        f"**{text(facts.get('notice'))}**",
        f"A network ({text(facts.get('model'))}, {text(facts.get('model_from'))}, {count(facts.get('parameters'))} "
        f"parameters) that says how probable {positive} is on a frontal chest radiograph, against {negative}. "
        f"Exported by pneumo {text(facts.get('pneumo'))} from the {text(facts.get('checkpoint'))} checkpoint of "
        f"the run {text(facts.get('run'))}, epoch {count(facts.get('epoch'))}.",
        "## Intended use and limits",
        _limits(description, report),
        "## Data",
        _data(description, report),
        "## Results",
        _results(facts),
        "## Calibration and operating points",
        _operating_points(description),
        "## What to keep in mind",
        _honesty(report),
        "## Use",
        _use(facts),
        "## Files",
        "- `model.onnx`: the graph, its description in its metadata. `model.pt2`: the same for "
        '`torch.export.load("model.pt2").module()`; torch unpickles parts of such a file, so load it only if you '
        "trust whoever gave it to you.\n"
        "- `model.json`: the description: input, classes, calibration, operating points, what tells foreign "
        "images and how an image lies, results, and the SHA-256 of each file.\n"
        "- `checkpoints/`, `run.toml`, `environment.json`: weights, settings and versions of the run.",
        "## Licence",
        f"pneumo is under the Apache License 2.0. These weights were made from the data named above"
        f"{_pretrained(report)}, whose terms hold for what is made of them; whoever shares the bundle says under "
        "which licence.",
    ]
    return "\n\n".join(parts) + "\n"


def _limits(description: Description, report: Mapping[str, Any]) -> str:
    negative, positive = description.rule.classes
    dataset = mapping(report.get("dataset"))
    lines = [
        "For research and teaching on how such networks learn, err and can be compared. Not for patients: nobody "
        "has tested it in a clinic, and no authority has approved it.",
        f"It knows two answers, {negative} and {positive}. Whatever else an image shows gets one of them.",
        "It was trained on images of one source"
        + (f" ({text(dataset.get('origin'))})" if dataset.get("origin") else "")
        + ". On those of another hospital, machine, age or view it may be worse than the numbers below say.",
        "Its probability holds where the share of "
        f"{positive} is that of its validation images ({description.rule.prevalence:.0%}); where it is rarer, the "
        "probability is too high."
        if description.rule.is_calibrated
        else "Its probability is not calibrated.",
    ]
    if description.rule.ood_detector is not None:
        lines.append(
            "`pneumo predict` flags images that are unlike the training images"
            + (", and says which lie in another way" if description.rule.orientation is not None else "")
            + ". The graph alone does not: it answers for a photograph, too."
        )
    return "\n".join(f"- {line}" for line in lines)


def _data(description: Description, report: Mapping[str, Any]) -> str:
    dataset = mapping(report.get("dataset"))
    split = mapping(dataset.get("split"))
    name = text(description.facts.get("dataset")).rpartition(":")[2]
    known = (name, text(dataset.get("origin") or dataset.get("summary")))
    lines = [": ".join(part for part in known if part) + "."]
    if dataset.get("synthetic"):
        lines.append("**These images are drawn: no patient is behind them.**")
    lines.append(
        f"Fingerprint `{text(description.facts.get('data_fingerprint'))}`, images of {description.size} px, "
        f"divided by the policy `{text(split.get('policy'))}`."
    )
    rows = [mapping(row) for row in sequence(split.get("rows"))]
    if rows:
        head = ("Split", "Images", "Patients", *description.rule.classes)
        body = [
            (
                text(row.get("split")),
                count(row.get("images")),
                count(row.get("patients")),
                *(count(mapping(row.get("counts")).get(name)) for name in description.rule.classes),
            )
            for row in rows
        ]
        return " ".join(lines) + "\n\n" + _table(head, body)
    return " ".join(lines)


def _results(facts: Mapping[str, Any]) -> str:
    found = mapping(facts.get("results"))
    if not found:
        return "Nothing was measured of these weights, or the run's report is lost."
    splits = [name for name in ("validation", "test") if name in found] or list(found)
    rows = []
    for metric in _METRICS:
        cells = [_cell(mapping(found[split]), metric) for split in splits]
        if any(cell != "–" for cell in cells):
            rows.append((metric_label(metric).label, *cells))
    note = (
        "With 95 % intervals over patients. The checkpoint, the calibration and the operating points were chosen "
        "on the validation images; the test images had no part in it. Numbers that depend on a threshold are those "
        "of the run's own operating point."
    )
    return f"{_table(('', *(split.capitalize() for split in splits)), rows)}\n\n{note}"


def _cell(found: Mapping[str, Any], metric: str) -> str:
    value = number(mapping(found.get("metrics")).get(metric))
    if value is None:
        return "–"
    ends = [number(end) for end in sequence(mapping(found.get("intervals")).get(metric))]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
    return f"{value:.3f}"


def _operating_points(description: Description) -> str:
    rule = description.rule
    test = mapping(mapping(mapping(description.facts.get("results")).get("test")).get("operating_points"))
    rows = []
    for point in rule.points:
        shares = mapping(mapping(test.get(point.name)).get("metrics"))
        measured = (number(shares.get(name)) for name in _SHARES)
        rows.append(
            (
                f"`{point.name}`" + (" (in use)" if point.name == rule.chosen else ""),
                f"{point.logit_threshold:.4f}",
                f"{rule.probability_at(point):.3f}",
                *("–" if value is None else f"{value:.3f}" for value in measured),
                point.rule,
            )
        )
    head = ("Point", "Logit", "Probability", *(f"{name}, test" for name in _SHARES.values()), "Chosen")
    fitted = (
        f"The logit is divided by the temperature {rule.calibration.temperature:.4f}, and the bias "
        f"{rule.calibration.bias:+.4f} is added, before its sigmoid is the probability (the graph does that). Both "
        f"were fitted on {rule.images:,} validation images, of which {rule.prevalence:.1%} were {rule.classes[1]}; "
        "for another share p, add log(p / (1 - p)) and subtract that of this one (`pneumo predict --prevalence p` "
        "does that). "
        if rule.is_calibrated
        else "No probability was calibrated on validation images: it is the sigmoid of the logit. "
    )
    return (
        f"{fitted}An image is called {rule.classes[1]} where its logit is at least the operating point's.\n\n"
        + _table(head, rows)
    )


def _honesty(report: Mapping[str, Any]) -> str:
    said = [text(mapping(one).get("text")) for one in sequence(report.get("caveats"))]
    if not report:
        return "The run's report is lost, and with it what speaks against these numbers."
    return "\n".join(f"- {one}" for one in said if one) or "No rule of pneumo's had anything to say."


def _use(facts: Mapping[str, Any]) -> str:
    checks = "; ".join(
        f"{text(one.get('runtime'))}: {number(one.get('largest_difference')) or 0:.1e} on "
        f"{count(one.get('images'))} images"
        for one in map(mapping, sequence(facts.get("checks")))
    )
    return (
        "With pneumo: `pneumo predict THIS_FOLDER image.png …`. Without it, in this folder, with onnxruntime, "
        f"NumPy and Pillow:\n\n```python\n{USE}```\n\n"
        '`convert("L")` clips images of 16 bits: scale these to 8 first. The graph takes float32 [batch, 1, size, '
        "size] from 0 to 1. Its largest difference from the run's own fp32 logits, measured when it was exported: "
        f"{checks}."
    )


def _pretrained(report: Mapping[str, Any]) -> str:
    settings = {
        text(one.get("name")): one.get("value") for one in map(mapping, sequence(report.get("settings")))
    }
    weights = text(settings.get("weights"))
    return f" and from pretrained weights ({weights})" if weights and weights != "none" else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
