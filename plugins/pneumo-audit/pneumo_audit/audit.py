"""Auditing a dataset and its split: leaks, structure, shift. No network is trained, and no data are changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pneumo_audit.distribution_shift import Shift, find_shift
from pneumo_audit.patient_blocks import Blocks, find_blocks
from pneumo_cli.data.leakage import (
    Kind,
    Leak,
    Leaks,
    Pair,
    at_original_size,
    find_leaks,
    index_near_duplicates,
    near_duplicates_within,
)
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.runtime.progress import Progress

AUDIT_SIZE = 128
"""Pixels at which images are compared and shown: more than are needed to compare, as many as are needed to see."""

_KINDS: dict[Kind, str] = {
    "bytes": "identical file",
    "pixels": "image with identical pixels",
    "near": "altered copy",
}


@dataclass(frozen=True)
class Audit:
    """What an audit has found.

    Attributes:
        data: that were audited.
        leaks: between the splits.
        within: images that are the same within one split and yet of two patients, by split.
        blocks: of patient numbers, per split and class.
        shift: a card per class; none of a class with few patients.
    """

    data: PreparedData
    leaks: Leaks
    within: dict[str, tuple[Pair, ...]]
    blocks: tuple[Blocks, ...]
    shift: tuple[Shift, ...]

    @property
    def clean(self) -> bool:
        """True where neither the split leaks nor the dataset's own division between training and test pool."""
        return not self.leaks.leaks and not self.leaks.left_out.leaks

    def problems(self) -> list[str]:
        """A sentence for each pair of splits that have something in common."""
        found = [_sentence(leak) for leak in self.leaks.pairs if leak.leaks]
        left_out = self.leaks.left_out
        if left_out.leaks:
            count = len(self.data.split.excluded)
            found.append(
                f"{_sentence(left_out)}: {count} {_plural(count, 'image')} of the dataset's training pool. This "
                "split leaves them out; a run with another split would train on them"
            )
        return found

    def plain(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        data = self.data
        return {
            "dataset": data.dataset.name,
            "place": data.dataset.place,
            "fingerprint": data.fingerprint,
            "synthetic": data.dataset.synthetic,
            "images": len(data.dataset.records),
            "patients": len({record.patient for record in data.dataset.records}),
            "split": {"policy": data.split.policy, "fraction": data.split.fraction, "seed": data.split.seed},
            "splits": [
                {"split": row.split, "counts": row.counts, "images": row.images, "patients": row.patients}
                for row in data.table()
            ],
            "compared_at": data.size,
            "clean": self.clean,
            "problems": self.problems(),
            "leaks": [self._leak(leak) for leak in self.leaks.pairs],
            "left_out": {"images": len(data.split.excluded), **self._leak(self.leaks.left_out)},
            "identical": [
                {"names": list(group.names), "patients": group.patients, "labels": group.labels}
                for group in data.overlaps.identical
            ],
            "within": {name: [self._pair(pair) for pair in pairs] for name, pairs in self.within.items()},
            "structure": [blocks.plain() for blocks in self.blocks],
            "shift": [shift.plain() for shift in self.shift],
            "unreadable": [{"name": name, "reason": reason} for name, reason in data.unreadable],
        }

    def _leak(self, leak: Leak) -> dict[str, Any]:
        return {
            **leak.plain(),
            "shared_patients": list(leak.patients),
            "pairs": [self._pair(pair) for pair in leak.pairs],
        }

    def _pair(self, pair: Pair) -> dict[str, Any]:
        first, second = (self.data.dataset.records[position] for position in (pair.first, pair.second))
        return {
            "kind": pair.kind,
            "names": [first.name, second.name],
            "patients": [first.patient, second.patient],
            "bits": pair.bits,
            "correlation": round(pair.correlation, 4),
            "mirrored": pair.mirrored,
        }


def audit(data: PreparedData, progress: Progress) -> Audit:
    """Audit prepared data.

    Args:
        data: decoded at :data:`AUDIT_SIZE`, unreadable images left out.
        progress: where the steps are shown.
    """
    with progress.stage("auditing", 4, "steps") as advance:
        copies = index_near_duplicates(data)
        leaks = at_original_size(find_leaks(data, copies), data.dataset)
        advance(1)
        within = near_duplicates_within(data, copies)
        advance(1)
        blocks = find_blocks(data)
        advance(1)
        shift = find_shift(data)
        advance(1)
    return Audit(data, leaks, within, blocks, shift)


def verdict(audit: Audit) -> str:
    """What was found, in one sentence; what exactly, :meth:`pneumo_audit.audit.Audit.problems` says."""
    if audit.clean:
        return "No leak found: no patient and no image is on two sides."
    if not audit.leaks.leaks:
        return "The dataset leaks from its training into its test pool; this split leaves those images out."
    count = len(audit.problems())
    found = "1 leak" if count == 1 else f"{count} leaks"
    return f"{found} found: what is measured with this split is better than the truth."


def shift_sentence(audit: Audit) -> str:
    """What the shift cards say of the test numbers, in words; empty where there is none."""
    if not audit.shift:
        return ""
    worst = max(audit.shift, key=lambda card: ("none", "slight", "clear", "strong").index(card.strength))
    if worst.strength == "none":
        return (
            "A simple classifier cannot tell test images from training images any better than random halves: "
            "as far as thumbnails show, numbers on the test images hold for images like the training images."
        )
    found = f"A simple classifier tells test from training images of {worst.title} with an AUC of {worst.auc:.2f}. "
    return (
        found
        + {
            "slight": (
                "The two differ a little; numbers on validation and test images may differ for that reason alone."
            ),
            "clear": (
                "The two differ visibly in something other than the disease, such as framing or exposure: the test "
                "numbers also measure how well a model copes with that, and validation numbers promise too much."
            ),
            "strong": (
                "The test images are of another kind: the test numbers measure how a model does on foreign images, "
                "and say little about images like those it was trained on; validation numbers do not foretell them."
            ),
        }[worst.strength]
    )


def _sentence(leak: Leak) -> str:
    shared = []
    if leak.patients:
        count = len(leak.patients)
        shared.append(
            f"{count:,} {_plural(count, 'patient')} "
            f"({leak.images:,} {_plural(leak.images, 'image')} of {leak.second})"
        )
    for kind, what in _KINDS.items():
        count = leak.count(kind)
        if count:
            shared.append(f"{count:,} {_plural(count, what)}")
    text = " and ".join([", ".join(shared[:-1]), shared[-1]] if len(shared) > 1 else shared)
    return f"{leak.first} and {leak.second} share {text}"


def _plural(count: int, what: str) -> str:
    if count == 1:
        return what
    head, _, tail = what.partition(" with ")
    head = head[:-1] + "ies" if head.endswith("y") else head + "s"
    return f"{head} with {tail}" if tail else head
