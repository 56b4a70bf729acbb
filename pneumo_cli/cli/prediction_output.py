"""How predictions are shown: as a table, as JSON or as CSV on stdout, and in words on stderr what they mean.

Apart from the command (:mod:`pneumo_cli.cli.predict`), which asks for them.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.runs.index import bare

if TYPE_CHECKING:
    from pneumo_cli.evaluation.decision_rule import DecisionRule
    from pneumo_cli.inference.predictor import Prediction, Predictor


class Writer(ABC):
    """Shows predictions on stdout as they come."""

    def __init__(self, predictor: Predictor, files: Sequence[Path]) -> None:
        self.predictor = predictor
        self.files = files

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Write what stands before and after all predictions."""
        yield self

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""

    def note(self, prediction: Prediction) -> str:
        """What speaks against a file's probability, and what to do; empty where nothing does."""
        if prediction.other_part:
            return f"the file says that it shows {prediction.other_part}, no chest: do not trust it"
        if prediction.presentation:
            return f"{prediction.presentation.name}: do not trust it; {prediction.presentation.remedy} first"
        if not prediction.out_of_distribution:
            return ""
        threshold = self.predictor.ood_threshold
        far = f" ({_times(prediction.ood_score / threshold)} the limit)" if threshold else ""
        return f"unlike the training images{far}: do not trust it"

    def called(self, prediction: Prediction) -> str:
        """The name of the class that a file was called."""
        return self.predictor.rule.classes[int(prediction.positive)]


class Text(Writer):
    """A table for people."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        positive = self.predictor.rule.classes[1]
        self._decision = max(len("decision"), *map(len, self.predictor.rule.classes))
        self._probability = max(len("99.9 %"), len(positive))
        room = shutil.get_terminal_size().columns - self._decision - self._probability - 6
        longest = max((len(str(file)) for file in self.files), default=4)
        self._file = max(len("file"), min(longest, max(20, room - 12) if sys.stdout.isatty() else longest))
        print(
            f"{'FILE':<{self._file}}  {positive.upper():>{self._probability}}  {'DECISION':<{self._decision}}  NOTE"
        )
        yield self

    def write(self, prediction: Prediction) -> None:
        name = str(prediction.file)
        if len(name) > self._file:
            name = "…" + name[1 - self._file :]
        if prediction.error:
            shown, called, note = "–", "–", prediction.error
        else:
            shown, called = _percent(prediction.probability), self.called(prediction)
            note = self.note(prediction)
        line = f"{name:<{self._file}}  {shown:>{self._probability}}  {called:<{self._decision}}  {note}"
        print(line.rstrip())


class Json(Writer):
    """One JSON document, written piece by piece: it may be of a million files."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        rule, point = self.predictor.rule, self.predictor.point
        head = {
            **self.predictor.facts,
            "synthetic": _synthetic(self.predictor),
            "classes": list(rule.classes),
            **rule.calibration.plain(),
            "prevalence": _prevalence(rule),
            "validation_images": rule.images,
            "validation_prevalence": rule.prevalence if rule.images else None,
            "operating_point": {**point.plain(), "probability": rule.probability_at(point)},
            "ood_threshold": self.predictor.ood_threshold,
            "notice": DISCLAIMER,
        }
        print(
            json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)[:-2] + ',\n  "predictions": [',
            end="",
        )
        self._between = "\n"
        yield self
        print("\n  ]\n}")

    def write(self, prediction: Prediction) -> None:
        item: dict[str, Any] = {"file": str(prediction.file)}
        if prediction.error:
            item["error"] = prediction.error
        else:
            item |= {
                "probability": prediction.probability,
                "decision": self.called(prediction),
                "logit": prediction.logit,
                "out_of_distribution": prediction.out_of_distribution,
                "ood_score": prediction.ood_score,
                "presentation": _presentation(prediction) or None,
                "other_part": prediction.other_part or None,
            }
            if prediction.members:
                item["members"] = list(prediction.members)
        print(f"{self._between}    {json.dumps(item, ensure_ascii=False, allow_nan=False)}", end="")
        self._between = ",\n"


class Csv(Writer):
    """A row per file."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        columns = (
            "file",
            "probability",
            "decision",
            "logit",
            "out_of_distribution",
            "ood_score",
            "error",
            "prevalence",
            "presentation",
            "other_part",
        )
        self._rows.writerow(columns)
        yield self

    def write(self, prediction: Prediction) -> None:
        if prediction.error:
            self._rows.writerow([prediction.file, "", "", "", "", "", prediction.error, "", "", ""])
            return
        self._rows.writerow(
            [
                prediction.file,
                prediction.probability,
                self.called(prediction),
                prediction.logit,
                "yes" if prediction.out_of_distribution else "no",
                prediction.ood_score,
                "",
                _prevalence(self.predictor.rule),
                _presentation(prediction),
                prediction.other_part,
            ]
        )


def _presentation(prediction: Prediction) -> str:
    """How an image lies, in a word; empty where nothing can tell."""
    return prediction.presentation.name if prediction.presentation is not None else ""


def _times(ood_score: float) -> str:
    """How many times the limit an image's score is, of one beyond it: never one that reads as the limit itself.

    >>> _times(1.0001), _times(1.04), _times(2.51)
    ('1.01 ×', '1.04 ×', '2.5 ×')
    """
    return f"{max(1.01, ood_score):.{2 if ood_score < 1.1 else 1}f} ×"


def _synthetic(predictor: Predictor) -> bool | None:
    """Whether any of the models learnt on images that were drawn; None where that is not known of all."""
    said = [member.facts.get("synthetic") for member in predictor.members or (predictor,)]
    return True if True in said else None if None in said else False


def _percent(probability: float) -> str:
    """A probability as people read it; never 0 or 100 %, which no model can know.

    >>> _percent(0.9996), _percent(0.314), _percent(1e-9)
    ('> 99.9 %', '31.4 %', '< 0.1 %')
    """
    if probability > 0.999:
        return "> 99.9 %"
    if probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def _prevalence(rule: DecisionRule) -> float | None:
    """The share of class 1 for which the probabilities hold; None where they are not calibrated."""
    if not rule.is_calibrated:
        return None
    return rule.prevalence if rule.assumed is None else rule.assumed


@dataclass
class Counts:
    """Of how many files what was said.

    Attributes:
        files: how many there were.
        failed: could not be judged.
        out_of_distribution: are unlike the training images.
        lying: lie in another way than they do.
        other_parts: say that they show no chest.
    """

    files: int
    failed: int = 0
    out_of_distribution: int = 0
    lying: int = 0
    other_parts: int = 0

    def add(self, prediction: Prediction) -> None:
        """Count one more."""
        self.failed += bool(prediction.error)
        self.out_of_distribution += prediction.out_of_distribution
        self.lying += bool(prediction.presentation)
        self.other_parts += bool(prediction.other_part)

    @property
    def predicted(self) -> int:
        """How many could be."""
        return self.files - self.failed


def say_what_it_means(predictor: Predictor, counts: Counts) -> None:
    """Say on stderr what the numbers mean, and of how many files not to trust them."""
    rule, point = predictor.rule, predictor.point
    positive = rule.classes[1]
    several = predictor.count > 1
    said = []
    if several:
        said.append(f"{predictor.count} models answer together: the mean of their calibrated logits")
    if rule.is_calibrated:
        on = "each model's own" if several else f"{rule.images:,}"
        calibrated = f"calibrated on {on} validation images, of which {rule.prevalence:.0%} were {positive}"
        said.append(
            f"the number is the probability of {positive}, {calibrated}; where the disease is rarer it is too high "
            "(--prevalence SHARE)"
            if rule.assumed is None
            else f"the number is the probability of {positive} where {100 * rule.assumed:g} % of the images are "
            f"{positive}: {calibrated}, and carried over to that prevalence, which changes no decision"
        )
    else:
        said.append(
            f"the number is the model's own idea of the probability of {positive}; nothing calibrated it"
        )
    said.append(
        f"{positive} is called from {_percent(rule.probability_at(point))} on, the operating point {point.name}. "
        f"{point.rule}"
    )
    if _synthetic(predictor):
        said.append(_on_synthetic(predictor))
    if counts.out_of_distribution:
        verb = "is" if counts.out_of_distribution == 1 else "are"
        said.append(
            f"{counts.out_of_distribution} of {counts.predicted} images {verb} unlike those that the model was "
            "trained on"
        )
    if counts.other_parts:
        verb = "says that it shows" if counts.other_parts == 1 else "say that they show"
        said.append(
            f"{counts.other_parts} of {counts.predicted} images {verb} another part of the body than the chest"
        )
    if counts.lying:
        verb = "lies" if counts.lying == 1 else "lie"
        said.append(
            f"{counts.lying} of {counts.predicted} images {verb} in another way than those that the model was "
            "trained on; nothing was turned or inverted here: put them right and ask again"
        )
    if counts.failed:
        said.append(f"{counts.failed} of {counts.files} files could not be judged")
    said.append(DISCLAIMER)
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 10_000
    for line in said:
        print(textwrap.fill(f"pneumo: {line}", width, subsequent_indent=" " * 8), file=sys.stderr)


def _on_synthetic(predictor: Predictor) -> str:
    """That models learnt on images that were drawn, and which of several did."""
    members = predictor.members or (predictor,)
    drawn = [bare(member.facts.get("dataset")) for member in members if member.facts.get("synthetic")]
    who = "the model was" if len(members) == 1 else "all models were"
    if len(drawn) < len(members):
        who = f"{len(drawn)} of {len(members)} models {'was' if len(drawn) == 1 else 'were'}"
    return (
        f"{who} trained on synthetic images ({', '.join(dict.fromkeys(drawn))}): these are drawn, and what was "
        "learnt on them says nothing about patients"
    )
