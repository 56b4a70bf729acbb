"""Audit of a dataset and its split: leaks, patient order, shift, storage. Trains no network, changes no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumo_audit.distribution_shift import Shift, find_shift
from pneumo_audit.patient_blocks import Blocks, find_blocks
from pneumo_cli.data.container_differences import (
    ContainerDifference,
    container_differences,
    container_rows,
    read_containers,
    shortcuts,
)
from pneumo_cli.data.containers import Container
from pneumo_cli.data.file_dataset import FileDataset
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
"""Image size in pixels: more than the comparison needs, and as much as a viewer needs."""

LEAK_HEAD = ("Between", "Patients", "Their images", "Identical files", "Identical pixels", "Near-duplicates")
_KINDS: dict[Kind, tuple[str, str]] = {
    "bytes": ("identical file", "identical files"),
    "pixels": ("image with identical pixels", "images with identical pixels"),
    "near": ("near-duplicate", "near-duplicates"),
}


@dataclass(frozen=True)
class Audit:
    """The findings of an audit.

    Attributes:
        data: the audited data.
        leaks: between the splits.
        within: equal images of two patients within one split, by split.
        blocks: of patient numbers, per split and class.
        shift: one entry per class that has enough patients.
        containers: how the images are stored, by the position of the record; of a sample, or empty.
        differences: the properties of the stored images that tell a class.
    """

    data: PreparedData
    leaks: Leaks
    within: dict[str, tuple[Pair, ...]]
    blocks: tuple[Blocks, ...]
    shift: tuple[Shift, ...]
    containers: Mapping[int, Container]
    differences: tuple[ContainerDifference, ...]

    @property
    def clean(self) -> bool:
        """True if neither the split leaks nor the dataset's own division into training and test pool."""
        return not self.leaks.leaks and not self.leaks.left_out.leaks

    def problems(self) -> list[str]:
        """A sentence for each pair of splits that share patients or images."""
        sentences = [_sentence(leak) for leak in self.leaks.pairs if leak.leaks]
        left_out = self.leaks.left_out
        if left_out.leaks:
            images = _count(len(self.data.split.excluded), "image", "images")
            sentences.append(
                f"{_sentence(left_out)}: {images} of the dataset's training pool. This split excludes them; a run "
                "with another split would train on them"
            )
        return sentences

    def shortcuts(self) -> list[str]:
        """A sentence for each class that can be told from how its images are stored."""
        return shortcuts(self.differences)

    def shown_leaks(self) -> list[Leak]:
        """All pairs of splits; the excluded images and the test pool only if they share something."""
        return [*self.leaks.pairs] + ([self.leaks.left_out] if self.leaks.left_out.leaks else [])

    def plain(self) -> dict[str, Any]:
        """Everything, for JSON."""
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
            "storage": {
                "images": len(self.containers),
                "rows": [list(row) for row in container_rows(data.dataset, self.containers)],
                "differences": [difference.plain() for difference in self.differences],
                "shortcuts": self.shortcuts(),
            },
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
            "mirrored": pair.flipped,
        }


def audit(data: PreparedData, progress: Progress) -> Audit:
    """Audit prepared data: decoded at :data:`AUDIT_SIZE`, without unreadable images."""
    with progress.stage("auditing", 5, "steps") as advance:
        index = index_near_duplicates(data)
        leaks = at_original_size(find_leaks(data, index), data.dataset)
        advance(1)
        within = near_duplicates_within(data, index)
        advance(1)
        blocks = find_blocks(data)
        advance(1)
        shift = find_shift(data)
        advance(1)
        dataset = data.dataset
        containers = read_containers(dataset) if isinstance(dataset, FileDataset) else {}
        differences = container_differences(dataset, containers)
        advance(1)
    return Audit(data, leaks, within, blocks, shift, containers, differences)


def verdict(audit: Audit) -> str:
    """The result in one sentence; :meth:`Audit.problems` has the details."""
    if audit.clean:
        return "No leak found: no patient and no image is in two splits."
    if not audit.leaks.leaks:
        return "The dataset leaks from its training into its test pool; this split excludes those images."
    leaks = _count(len(audit.problems()), "leak", "leaks")
    return f"{leaks} found: metrics measured with this split are too good."


def leak_rows(leaks: Sequence[Leak]) -> list[tuple[str, ...]]:
    """A row for each pair of splits, with the columns :data:`LEAK_HEAD`."""
    return [
        (
            f"{leak.first} and {leak.second}",
            f"{len(leak.patients):,}",
            f"{leak.images:,}",
            *(f"{leak.count(kind):,}" for kind in _KINDS),
        )
        for leak in leaks
    ]


def shift_sentence(audit: Audit) -> str:
    """What the shift means for test metrics, in words; empty if no class has enough patients."""
    if not audit.shift:
        return ""
    worst = max(audit.shift, key=lambda card: ("none", "slight", "clear", "strong").index(card.strength))
    if worst.strength == "none":
        return (
            "A simple classifier distinguishes test from training images no better than random halves: as far as "
            "32-pixel images show, test metrics hold for images like the training images."
        )
    consequence = {
        "slight": "They differ a little, and validation and test metrics may differ for that reason alone.",
        "clear": "They differ visibly in something other than the disease, such as framing or exposure: test "
        "metrics also measure how robust a model is to that, and validation metrics are too good.",
        "strong": "The test images are out-of-distribution: test metrics measure a model on another kind of "
        "images, say little about images like the training images, and do not follow from validation metrics.",
    }[worst.strength]
    return (
        f"A simple classifier distinguishes test from training images of {worst.title} with an AUC of "
        f"{worst.auc:.2f}. {consequence}"
    )


def _sentence(leak: Leak) -> str:
    shared = []
    if leak.patients:
        patients = _count(len(leak.patients), "patient", "patients")
        shared.append(f"{patients} ({_count(leak.images, 'image', 'images')} of {leak.second})")
    shared += [_count(leak.count(kind), *words) for kind, words in _KINDS.items() if leak.count(kind)]
    text = " and ".join([", ".join(shared[:-1]), shared[-1]] if len(shared) > 1 else shared)
    return f"{leak.first} and {leak.second} share {text}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
