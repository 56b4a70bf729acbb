"""What a metric is called, how many digits it deserves, what it means in a few words, and which way it is better.

The one place where lists, reports and figures know metrics by name. A metric that is not in the table is shown
under a name made from its own, so that a new task needs no change here. Imports no numpy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pneumo_cli.runtime.json_values import number, number_ends

_LOWER = re.compile(
    r"(.+_)?loss|brier.*|ece.*|kid(_(?!spread_).+)?|frechet(_(?!spread_).+)?|mse|divergence|copies|near_copies"
)
_HIGHER = re.compile(
    r"accuracy|keras_accuracy|auc|recall|specificity|precision|f1|balanced_accuracy|mcc|average_precision"
    r"|psnr(_.+)?|ssim(_.+)?|coverage|density|diversity"
)


def lower_is_better(metric: str) -> bool | None:
    """True where the lowest value is the best, False where the highest is; None where neither is known.

    The losses of adversaries are of the unknown: neither is the better the lower it is.

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
        meaning: completes "this is ...", for a reader who knows no statistics; empty where nobody wrote one.
        share: True for a value between 0 and 1 of which 1 is the best.
        scale: what the value is multiplied by where it is shown as text; the label says so.
    """

    label: str
    digits: int = 4
    meaning: str = ""
    share: bool = False
    scale: float = 1.0


KNOWN: Mapping[str, MetricLabel] = {
    "accuracy": MetricLabel("Accuracy", 3, "the share of all images that were called right", share=True),
    "auc": MetricLabel(
        "ROC AUC",
        3,
        "how often a positive image gets a higher score than a negative one; 0.5 is chance",
        share=True,
    ),
    "recall": MetricLabel(
        "Sensitivity (recall)", 3, "the share of the positive images that were found", share=True
    ),
    "specificity": MetricLabel(
        "Specificity", 3, "the share of the negative images that were called negative", share=True
    ),
    "precision": MetricLabel(
        "Precision", 3, "the share of the images called positive that are positive", share=True
    ),
    "f1": MetricLabel("F1 score", 3, "precision and recall in one number (harmonic mean)", share=True),
    "balanced_accuracy": MetricLabel(
        "Balanced accuracy", 3, "the mean of sensitivity and specificity; 0.5 is chance", share=True
    ),
    "mcc": MetricLabel("MCC", 3, "how calls and truth correlate (Matthews), −1 to 1; 0 is chance"),
    "average_precision": MetricLabel(
        "Average precision", 3, "the area under the precision-recall curve", share=True
    ),
    "brier": MetricLabel(
        "Brier score", 3, "the mean squared error of the network's own probabilities; lower is better"
    ),
    "brier_calibrated": MetricLabel(
        "Brier score, calibrated", 3, "the same of the calibrated probabilities; lower is better"
    ),
    "ece": MetricLabel(
        "Calibration error (ECE)",
        3,
        "how far the network's own probabilities are from the shares that they promise; lower is better",
    ),
    "ece_calibrated": MetricLabel(
        "Calibration error (ECE), calibrated", 3, "the same of the calibrated probabilities; lower is better"
    ),
    "kid": MetricLabel(
        "KID × 1000",
        1,
        "how far the new images are from real ones of other patients; 0 is no distance",
        scale=1000,
    ),
    "kid_real": MetricLabel(
        "KID × 1000 of real images",
        1,
        "the same for real images of other patients: no generator can do better",
        scale=1000,
    ),
    "copies": MetricLabel("Copies", 3, "the share of new images that look like copies of one training image"),
    "diversity": MetricLabel(
        "Diversity", 2, "how much two new images differ, as a multiple of what two real ones do"
    ),
    "coverage": MetricLabel(
        "Coverage", 3, "the share of real images that have a new one in their neighbourhood", share=True
    ),
    "density": MetricLabel(
        "Density", 2, "in how many neighbourhoods of real images a new one lies; real ones: about 1"
    ),
    "near_copies": MetricLabel(
        "Near copies", 3, "the share of new images nearer to a training image than 99 % of real ones are"
    ),
    "frechet_distance": MetricLabel(
        "Fréchet distance", 4, "how far the new images are from real ones; it depends on their number"
    ),
    "psnr": MetricLabel(
        "PSNR (dB)", 2, "how large an image's range is beside its error, in decibels; higher is better"
    ),
    "ssim": MetricLabel(
        "SSIM", 3, "how alike structures are in an image and what was made of it", share=True
    ),
    "mse": MetricLabel("Mean squared error", 5, "the mean squared difference of grey levels from 0 to 1"),
    "generator_loss": MetricLabel(
        "Generator loss", 4, "low where the discriminator takes new images for real ones"
    ),
    "discriminator_loss": MetricLabel(
        "Discriminator loss", 4, "low where it tells new images from real ones; guessing gives 1.386"
    ),
    "real_score": MetricLabel(
        "Score of real images", 3, "how real the discriminator finds real images, 0 to 1; guessing gives 0.5"
    ),
    "fake_score": MetricLabel(
        "Score of new images", 3, "how real the discriminator finds new images, 0 to 1; guessing gives 0.5"
    ),
    "loss": MetricLabel("Loss", 4, "what training makes small; lower is better"),
}
"""Known metrics, in the order in which a report shows them."""

_DISTANCES: Mapping[str, str] = {"kid": "kid", "frechet": "frechet_distance"}

_COMPARED: Mapping[str, str] = {
    "real": "real images",
    "pca-gaussian": "a PCA Gaussian",
    "pixel-gaussian": "a pixel Gaussian",
    "mean-image": "the mean image",
    "noise": "noise",
}

_DISTANCE = re.compile(rf"({'|'.join(_DISTANCES)})_(spread_)?(?:({'|'.join(_COMPARED)})_)?(.+)")
"""A distance names what was compared with real images, if not the new ones, and what it was measured with:
``kid_efficientnet-lite0``, ``kid_spread_noise_pixels``."""


def metric_label(name: str) -> MetricLabel:
    """The entry of a metric, made from its name where the table has none.

    >>> metric_label("learning_rate").label
    'Learning rate'
    >>> metric_label("kid_spread_noise_pixels").label
    'KID × 1000 of noise, spread (pixels)'
    """
    if name in KNOWN:
        return KNOWN[name]
    found = _DISTANCE.fullmatch(name)
    if not found:
        return MetricLabel(" ".join(name.replace("_", " ").split()).capitalize() or "Unnamed")
    which, spread, compared, extractor = found.groups()
    family = KNOWN[_DISTANCES[which]]
    label = family.label
    label += f" of {_COMPARED[compared]}" if compared else ""
    label += ", spread" if spread else ""
    known = KNOWN.get(_family(name))
    meaning = known.meaning if known else ""
    return MetricLabel(f"{label} ({extractor})", family.digits, meaning, scale=family.scale)


def is_known(name: str) -> bool:
    """Whether the table says something of a metric, whatever that was measured with."""
    return _family(name) in KNOWN


def in_order(names: Iterable[str]) -> list[str]:
    """Metric names as a report lists them: the known in the table's order, then the others as they came."""
    order = {name: place for place, name in enumerate(KNOWN)}
    return sorted(names, key=lambda name: order.get(_family(name), len(order)))


def _family(name: str) -> str:
    """A metric without what it was measured with: ``kid_real`` of ``kid_real_pixels``."""
    found = None if name in KNOWN else _DISTANCE.fullmatch(name)
    if not found:
        return name
    which, spread, compared, _ = found.groups()
    family = _DISTANCES[which] if not compared else f"{which}_{compared}"
    return f"{family}_spread" if spread else family


def metric_text(name: str, value: object) -> str:
    """A metric's value in its digits; a dash where there is none.

    >>> metric_text("auc", 0.98765), metric_text("auc", None)
    ('0.988', '–')
    """
    known = number(value)
    if known is None:
        return "–"
    label = metric_label(name)
    known *= label.scale
    digits = label.digits
    if known != 0 and (abs(known) >= 1e5 or abs(known) < 10.0**-digits):
        return f"{known:.{digits - 1}e}"
    return f"{known:.{digits}f}"


def sd_text(metric: str, value: object) -> str:
    """A standard deviation in the digits of its metric, which are all that a reader can set it beside.

    >>> sd_text("auc", 0.0123), sd_text("auc", 0.00002), sd_text("auc", None)
    ('0.012', '< 0.001', '–')
    """
    known, label = number(value), metric_label(metric)
    last = 10.0**-label.digits
    if known is not None and 0 < known * label.scale < last / 2:
        return f"< {last:.{label.digits}f}"
    return "–" if known is None else f"{known * label.scale:.{label.digits}f}"


def interval_text(name: str, ends: object, between: str = "–") -> str:
    """The ends of a metric's interval in its digits; nothing where they are none.

    >>> interval_text("auc", [0.9441, 0.9731]), interval_text("mcc", (-0.1, 0.3))
    ('0.944–0.973', '-0.100 to 0.300')
    """
    known = number_ends(ends)
    if known is None:
        return ""
    low, high = known
    return (" to " if low < 0 else between).join((metric_text(name, low), metric_text(name, high)))
