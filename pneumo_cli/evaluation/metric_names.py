"""The label, digits, short explanation and better direction of each metric.

The one place where lists, reports and figures know metrics by name. A metric that is not in the table gets a label
made from its name, so a new task needs no change here. Imports no numpy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pneumo_cli.runtime.json_values import number, number_ends

_LOWER = re.compile(
    r"(.+_)?loss|brier.*|ece.*|kid(_(?!spread_).+)?|frechet(_(?!spread_).+)?|mse|divergence|copies|near_copies"
)
_HIGHER = re.compile(
    r"accuracy|keras_accuracy|auc|recall|specificity|precision|f1|balanced_accuracy|mcc|average_precision"
    r"|exact_match|psnr(_.+)?|ssim(_.+)?|coverage|density|diversity"
)


def lower_is_better(metric: str) -> bool | None:
    """True where lower is better, False where higher is; None where unknown, as for adversarial losses.

    >>> lower_is_better("loss"), lower_is_better("auc"), lower_is_better("generator_loss")
    (True, False, None)
    """
    if metric in ("generator_loss", "discriminator_loss"):
        return None
    if _LOWER.fullmatch(metric):
        return True
    return False if _HIGHER.fullmatch(metric) else None


@dataclass(frozen=True)
class MetricLabel:
    """How one metric is shown.

    Attributes:
        label: as in a table's head or on an axis.
        digits: after the decimal point.
        meaning: completes "this is ...", for a reader who knows no statistics; may be empty.
        share: True for a value between 0 and 1 of which 1 is the best.
        scale: factor of the value shown as text; the label includes it.
    """

    label: str
    digits: int = 4
    meaning: str = ""
    share: bool = False
    scale: float = 1.0


KNOWN: Mapping[str, MetricLabel] = {
    "accuracy": MetricLabel(
        "Accuracy", 3, "the share of all images that are classified correctly", share=True
    ),
    "exact_match": MetricLabel(
        "Exact match", 3, "the share of images whose known labels are all classified correctly", share=True
    ),
    "auc": MetricLabel(
        "ROC AUC",
        3,
        "how often a positive image gets a higher score than a negative one; 0.5 is chance",
        share=True,
    ),
    "recall": MetricLabel(
        "Sensitivity (recall)", 3, "the share of positive images that are classified as positive", share=True
    ),
    "specificity": MetricLabel(
        "Specificity", 3, "the share of negative images that are classified as negative", share=True
    ),
    "precision": MetricLabel(
        "Precision", 3, "the share of true positives among all predicted positives", share=True
    ),
    "f1": MetricLabel("F1 score", 3, "the harmonic mean of precision and recall", share=True),
    "balanced_accuracy": MetricLabel(
        "Balanced accuracy", 3, "the mean of sensitivity and specificity; 0.5 is chance", share=True
    ),
    "mcc": MetricLabel("MCC", 3, "the correlation of predictions and truth (Matthews), −1 to 1; 0 is chance"),
    "average_precision": MetricLabel(
        "Average precision", 3, "the area under the precision-recall curve", share=True
    ),
    "brier": MetricLabel(
        "Brier score", 3, "the mean squared error of the network's own probabilities; lower is better"
    ),
    "brier_calibrated": MetricLabel(
        "Brier score, calibrated", 3, "the same for the calibrated probabilities; lower is better"
    ),
    "ece": MetricLabel(
        "Calibration error (ECE)",
        3,
        "the mean gap between the network's own probabilities and observed frequencies; lower is better",
    ),
    "ece_calibrated": MetricLabel(
        "Calibration error (ECE), calibrated", 3, "the same for the calibrated probabilities; lower is better"
    ),
    "kid": MetricLabel(
        "KID × 1000",
        1,
        "the distance between generated images and real ones of other patients; 0 is best",
        scale=1000,
    ),
    "kid_real": MetricLabel(
        "KID × 1000 of real images",
        1,
        "the same for real images of other patients: no generator can do better",
        scale=1000,
    ),
    "copies": MetricLabel(
        "Copies", 3, "the share of generated images that look like a copy of a training image"
    ),
    "diversity": MetricLabel(
        "Diversity", 2, "the mean difference of two generated images relative to that of two real ones"
    ),
    "coverage": MetricLabel(
        "Coverage", 3, "the share of real images with a generated one in their neighborhood", share=True
    ),
    "density": MetricLabel(
        "Density",
        2,
        "the number of real images' neighborhoods that hold a generated one; real ones: about 1",
    ),
    "near_copies": MetricLabel(
        "Near copies", 3, "the share of generated images nearer to a training image than 99 % of real ones"
    ),
    "frechet_distance": MetricLabel(
        "Fréchet distance", 4, "the distance between generated and real images; it depends on their number"
    ),
    "psnr": MetricLabel(
        "PSNR (dB)", 2, "the ratio of an image's range to its error, in decibels; higher is better"
    ),
    "ssim": MetricLabel(
        "SSIM", 3, "the similarity of structures in an image and its reconstruction", share=True
    ),
    "mse": MetricLabel("Mean squared error", 5, "the mean squared difference of gray levels from 0 to 1"),
    "generator_loss": MetricLabel(
        "Generator loss", 4, "low where the discriminator takes generated images for real ones"
    ),
    "discriminator_loss": MetricLabel(
        "Discriminator loss", 4, "low where it separates generated from real images; guessing gives 1.386"
    ),
    "real_score": MetricLabel(
        "Score of real images", 3, "the discriminator's score of real images, 0 to 1; guessing gives 0.5"
    ),
    "fake_score": MetricLabel(
        "Score of generated images",
        3,
        "the discriminator's score of generated images, 0 to 1; guessing gives 0.5",
    ),
    "loss": MetricLabel("Loss", 4, "the quantity that training minimizes; lower is better"),
    "keras_accuracy": MetricLabel(
        "Keras accuracy",
        4,
        "the share of pixels whose largest channel stays the same; of gray images it says nothing",
    ),
}
"""Known metrics, in the order in which a report shows them."""

_MEAN = "; mean over the classes"
_OF_CLASSES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "multiclass": {
        "accuracy": ("", "the share of all images whose class is right"),
        "auc": (
            "macro",
            "how often an image of a class scores higher for it than one of another class" + _MEAN,
        ),
        "recall": ("macro", "the share of a class's images that are classified as it" + _MEAN),
        "specificity": ("macro", "the share of the other images that are not classified as a class" + _MEAN),
        "precision": ("macro", "the share of right ones among the images classified as a class" + _MEAN),
        "f1": ("macro", "the harmonic mean of precision and recall" + _MEAN),
        "balanced_accuracy": ("", "the mean sensitivity of the classes; chance is 1 / number of classes"),
        "mcc": ("", "the correlation of predicted and true classes (Gorodkin), −1 to 1; 0 is chance"),
        "average_precision": ("macro", "the area under the precision-recall curve" + _MEAN),
    },
    "multilabel": {
        "accuracy": ("macro", "the share of images for which a label is decided right; mean over the labels"),
        "auc": (
            "macro",
            "how often an image with a label scores higher than one without it; mean over the labels",
        ),
        "recall": ("macro", "the share of images with a label that are detected; mean over the labels"),
        "specificity": (
            "macro",
            "the share of images without a label that are not given it; mean over the labels",
        ),
        "precision": (
            "macro",
            "the share of right ones among the images given a label; mean over the labels",
        ),
        "f1": ("macro", "the harmonic mean of precision and recall; mean over the labels"),
        "balanced_accuracy": ("macro", "the mean of sensitivity and specificity; mean over the labels"),
        "mcc": ("macro", "the correlation of decisions and truth (Matthews); mean over the labels"),
        "average_precision": ("macro", "the area under the precision-recall curve; mean over the labels"),
    },
}
"""By task, the average over K classes that a metric is, and its meaning (:mod:`pneumo_cli.evaluation.multi`)."""

_OF_PROBABILITIES = ("brier", "brier_calibrated", "ece", "ece_calibrated")

_DISTANCES: Mapping[str, str] = {"kid": "kid", "frechet": "frechet_distance"}

_COMPARED: Mapping[str, str] = {
    "real": "real images",
    "pca-gaussian": "a PCA Gaussian",
    "pixel-gaussian": "a pixel Gaussian",
    "mean-image": "the mean image",
    "noise": "noise",
}

_INITIALISMS = frozenset(
    [
        "auc",
        "auprc",
        "auroc",
        "bce",
        "dsc",
        "ece",
        "f1",
        "fid",
        "fnr",
        "fpr",
        "hd",
        "hd95",
        "iou",
        "kid",
        "kl",
        "lpips",
        "mae",
        "mape",
        "mcc",
        "mse",
        "nll",
        "npv",
        "ppv",
        "pr",
        "psnr",
        "r2",
        "rmse",
        "roc",
        "ssim",
        "tnr",
        "tpr",
        "vae",
    ]
)
"""Words in names of metrics that are written in capitals."""

_DISTANCE = re.compile(rf"({'|'.join(_DISTANCES)})_(spread_)?(?:({'|'.join(_COMPARED)})_)?(.+)")
"""A distance's name states the set compared with real images, if not the generated one, and the feature extractor:
``kid_efficientnet-lite0``, ``kid_spread_noise_pixels``."""


def metric_label(name: str, task: str = "binary") -> MetricLabel:
    """The entry of a metric, made from its name where the table has none.

    Args:
        task: ``multiclass`` and ``multilabel``: of an average over classes, which the label then says.

    >>> metric_label("learning_rate").label, metric_label("auc", "multiclass").label
    ('Learning rate', 'ROC AUC (macro)')
    >>> metric_label("kid_spread_noise_pixels").label
    'KID × 1000 of noise, spread (pixels)'
    """
    if name in KNOWN:
        known = KNOWN[name]
        _, meaning = _OF_CLASSES.get(task, {}).get(name, ("", known.meaning))
        return replace(known, label=_averaged(known.label, average_of(name, task)), meaning=meaning)
    match = _DISTANCE.fullmatch(name)
    if not match:
        return MetricLabel(_from_name(name) or "Unnamed")
    distance, spread, compared, extractor = match.groups()
    family = KNOWN[_DISTANCES[distance]]
    label = family.label
    label += f" of {_COMPARED[compared]}" if compared else ""
    label += ", spread" if spread else ""
    meaning = KNOWN[_family(name)].meaning if is_known(name) else ""
    return MetricLabel(f"{label} ({extractor})", family.digits, meaning, scale=family.scale)


def _from_name(name: str) -> str:
    """A label made from the words of a name: ``Lesion dice``, ``MAE``, ``Mean IOU``."""
    words = [
        word.upper() if word.lower() in _INITIALISMS else word for word in name.replace("_", " ").split()
    ]
    return " ".join([words[0] if words[0].isupper() else words[0].capitalize(), *words[1:]]) if words else ""


def average_of(name: str, task: str) -> str:
    """The average over K classes that a metric is; empty for one of all classes at once, and for two classes.

    >>> average_of("auc", "multilabel"), average_of("mcc", "multiclass"), average_of("auc", "binary")
    ('macro', '', '')
    """
    if task in _OF_CLASSES and name in _OF_PROBABILITIES:
        return "macro"
    return _OF_CLASSES.get(task, {}).get(name, ("", ""))[0]


def _averaged(label: str, average: str) -> str:
    """A label with the kind of average: ``Calibration error (ECE, macro)``, ``Sensitivity (macro)``."""
    if not average:
        return label
    label = label.removesuffix(" (recall)")
    return f"{label[:-1]}, {average})" if label.endswith(")") else f"{label} ({average})"


def is_known(name: str) -> bool:
    """Whether the table has an entry for a metric, whatever its feature extractor."""
    return _family(name) in KNOWN


def in_order(names: Iterable[str]) -> list[str]:
    """Metric names in report order: known ones in the table's order, then the others in the given order."""
    order = {name: place for place, name in enumerate(KNOWN)}
    return sorted(names, key=lambda name: order.get(_family(name), len(order)))


def _family(name: str) -> str:
    """A metric without its feature extractor: ``kid_real`` for ``kid_real_pixels``."""
    match = None if name in KNOWN else _DISTANCE.fullmatch(name)
    if not match:
        return name
    distance, spread, compared, _ = match.groups()
    family = f"{distance}_{compared}" if compared else _DISTANCES[distance]
    return f"{family}_spread" if spread else family


def metric_text(name: str, value: object) -> str:
    """A metric's value with its digits; a dash where there is none.

    >>> metric_text("auc", 0.98765), metric_text("auc", None)
    ('0.988', '–')
    """
    scaled, label = number(value), metric_label(name)
    if scaled is None:
        return "–"
    scaled *= label.scale
    if scaled != 0 and (abs(scaled) >= 1e5 or abs(scaled) < 10.0**-label.digits):
        return f"{scaled:.{label.digits - 1}e}"
    return f"{scaled:.{label.digits}f}"


def sd_text(metric: str, value: object) -> str:
    """A standard deviation with the digits of its metric, so that the two can be compared.

    >>> sd_text("auc", 0.0123), sd_text("auc", 0.00002), sd_text("auc", None)
    ('0.012', '< 0.001', '–')
    """
    deviation, label = number(value), metric_label(metric)
    if deviation is None:
        return "–"
    deviation *= label.scale
    last = 10.0**-label.digits
    return f"< {last:.{label.digits}f}" if 0 < deviation < last / 2 else f"{deviation:.{label.digits}f}"


def interval_text(name: str, ends: object, between: str = "–") -> str:
    """The ends of a metric's interval with its digits; empty where there is no interval.

    >>> interval_text("auc", [0.9441, 0.9731]), interval_text("mcc", (-0.1, 0.3))
    ('0.944–0.973', '-0.100 to 0.300')
    """
    numbers = number_ends(ends)
    if numbers is None:
        return ""
    return (" to " if numbers[0] < 0 else between).join(metric_text(name, end) for end in numbers)
