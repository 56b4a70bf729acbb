"""What ``pneumo data check`` found in a dataset: as JSON-compatible values, and as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pneumo_cli.cli.output import print_table, print_text
from pneumo_cli.runtime.streams import printable

if TYPE_CHECKING:
    from pneumo_cli.data.examination import Examination

_LISTED = 20  # groups, images or kinds of files that are printed; --json has all
_NAMES = 6  # files of a group of identical ones
_CLASSES_BESIDE = 3  # with more, or with labels, the table has a row for each
_LONGEST = 24  # letters of a class name in that table


def _several(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def findings_of(found: Examination) -> dict[str, Any]:
    """Everything that was found, as JSON-compatible values; ``problems`` are sentences."""
    from pneumo_cli.data.examination import facts

    dataset, excluded, unreadable = found.dataset, len(found.split.excluded), found.unreadable
    problems = [
        f"{pair.first} and {pair.second} share {_several(pair.patients, 'patient')} "
        f"({_several(pair.images, 'image')} of {pair.second}) and {_several(pair.identical, 'identical image')}"
        for pair in found.overlaps.pairs
        if pair.leaks
    ]
    if excluded:
        problems.append(
            f"{excluded:,} images of the training pool show a patient of the test pool, or are identical to one of "
            "its images (the split 'patient' leaves them out)"
        )
    if conflicts := [group for group in found.overlaps.identical if group.labels > 1]:
        example = " = ".join(_some(conflicts[0].names))
        count = len(conflicts)
        problems.append(
            f"label conflict: 1 image has files with different labels ({example}): correct or remove them"
            if count == 1
            else f"label conflicts: {count:,} images have files with different labels (such as {example}): "
            "correct or remove them"
        )
    if unreadable:
        problems.append(
            "1 image cannot be read" if len(unreadable) == 1 else f"{len(unreadable):,} images cannot be read"
        )
    return {
        "dataset": dataset.name,
        "place": dataset.place,
        "origin": dataset.origin,
        "synthetic": dataset.synthetic,
        "fingerprint": dataset.fingerprint,
        "images": len(dataset.records),
        "patients": len({record.patient for record in dataset.records}),
        "channels": dataset.channels,
        "bits": dataset.bits,
        "targets": [asdict(target) for target in dataset.targets],
        "split": found.split.policy,
        "splits": [asdict(row) for row in found.table()],
        "identical": [asdict(group) for group in found.overlaps.identical],
        "shared": [
            {
                "between": [pair.first, pair.second],
                "patients": pair.patients,
                "images": pair.images,
                "identical": pair.identical,
            }
            for pair in found.overlaps.pairs
        ],
        "excluded": excluded,
        "decoded": found.decoded,
        "unreadable": [{"name": name, "reason": reason} for name, reason in unreadable],
        "problems": problems,
        **facts(dataset, decoded=found.decoded),
    }


def print_findings(findings: Mapping[str, Any]) -> None:
    """Print the findings; long lists are cut, and names shown without control characters."""
    findings = _printable(findings)
    print_text("{dataset}: {images:,} images of {patients:,} patients in {place}".format(**findings))
    print_text(findings["origin"])
    for note in findings["notes"]:
        print_text(note)
    if findings["gray_scaling"]:
        print_text(f"Gray levels: {findings['gray_scaling']}")
    for sentence in findings["storage"]:
        print_text(f"Caution: {sentence}.")
    for target in findings["targets"]:
        print_text("Target {name} ({kind}): {summary}".format(**target))
    if (findings["channels"], findings["bits"]) != (1, 8):
        print_text("Images of {channels} channels, {bits} bits".format(**findings))
    print()
    _print_classes(findings["splits"], findings["labels"])
    print()
    print_text(f"Split policy: {findings['split']}. Shared between splits:")
    print_table(
        ["splits", "patients", "their images", "identical images"],
        [
            [" and ".join(pair["between"]), pair["patients"], pair["images"], pair["identical"]]
            for pair in findings["shared"]
        ],
    )
    groups = findings["identical"]
    crossing, conflicts = (sum(group[key] > 1 for group in groups) for key in ("patients", "labels"))
    print()
    print_text(
        f"Groups of identical images: {len(groups):,} (with different patient keys: {crossing:,}, with different "
        f"labels: {conflicts:,})"
    )
    groups = sorted(groups, key=lambda group: group["labels"] < 2)
    _print_some(map(_identical, groups), len(groups))
    unreadable = findings["unreadable"]
    print_text(f"Unreadable images: {len(unreadable):,}")
    _print_some((f"{item['name']}: {item['reason']}" for item in unreadable), len(unreadable))
    unused = findings["unused"]
    print_text(f"Files not used: {sum(kind['count'] for kind in unused):,}")
    _print_some(map(_unused, unused), len(unused))
    print()
    for problem in findings["problems"]:
        print_text(f"problem: {problem}")
    if not findings["problems"]:
        print_text(
            f"No leak between the splits{', and every image can be read' if findings['decoded'] else ''}."
        )
    if not findings["decoded"]:
        print("The images were not decoded: without --no-decode, damaged ones are found too.")


def _printable(value: Any) -> Any:
    """A JSON-compatible value with all its texts printable, names of classes among the keys included."""
    if isinstance(value, Mapping):
        return {printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _print_classes(splits: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> None:
    """Images of each class by split; of labels also whether they are absent or unknown."""
    classes = list(splits[0]["counts"])
    totals = ("images", "patients")
    if not labels and len(classes) <= _CLASSES_BESIDE:
        compared = any(row["ratio"] is not None for row in splits)
        print_table(
            ["split", *classes, *totals, *([f"{classes[1]} : {classes[0]}"] if compared else [])],
            [
                [
                    row["split"],
                    *(f"{row['counts'][name]:,}" for name in classes),
                    *(f"{row[total]:,}" for total in totals),
                    *([f"{row['ratio']:.2f}" if row["ratio"] is not None else ""] if compared else []),
                ]
                for row in splits
            ],
        )
        return
    known = {
        label["name"]: [f"{label[key]:,}" for key in ("present", "absent", "unknown")] for label in labels
    }
    print_table(
        [
            "label" if labels else "class",
            *(row["split"] for row in splits),
            *(("present", "absent", "unknown") if labels else ()),
        ],
        [
            [
                name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…",
                *(f"{row['counts'][name]:,}" for row in splits),
                *known.get(name, ()),
            ]
            for name in classes
        ]
        + [[total, *(f"{row[total]:,}" for row in splits), *[""] * (3 if labels else 0)] for total in totals],
    )


def _identical(group: Mapping[str, Any]) -> str:
    return "  =  ".join(_some(group["names"])) + ("  (label conflict)" if group["labels"] > 1 else "")


def _some(names: Sequence[str]) -> list[str]:
    more = len(names) - _NAMES
    return [*names[:_NAMES], f"{more:,} more"] if more > 0 else list(names)


def _print_some(lines: Iterable[str], count: int) -> None:
    """The first few of ``count`` lines, and how many more there are."""
    for line, _ in zip(lines, range(_LISTED), strict=False):
        print_text(line, "  ")
    if count > _LISTED:
        print_text(f"and {count - _LISTED:,} more (all of them: --json)", "  ")


def _unused(kind: Mapping[str, Any]) -> str:
    from pneumo_cli.data.records import UnusedFiles

    return str(UnusedFiles(kind["kind"], kind["count"], tuple(kind["examples"]), kind["images"]))
