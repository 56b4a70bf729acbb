"""Images, tables, records, predictions and runs of any number, for :mod:`measure_growth`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.data.records import Dataset, Record
    from pneumo_cli.evaluation.result import Evaluation

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
_IMAGES_EACH = 4  # of a patient
_REPORTS = 500  # different ones: runs of the same content are hard links to one


def _place(number: int) -> tuple[str, int]:
    """The path of an image and its label: every fifth patient is in the test pool."""
    patient, follow = divmod(number, _IMAGES_EACH)
    label = patient % 4 > 0
    pool, title = ("test" if patient % 5 == 0 else "train"), ("PNEUMONIA" if label else "NORMAL")
    return f"{pool}/{title}/person{patient}_{'bacteria' if patient % 3 else 'virus'}_{follow}.png", int(label)


def write(needs: Collection[str], size: int, folder: Path) -> None:
    """Write the files that tasks read: ``images`` with a table beside them, ``runs``."""
    if "images" in needs:
        _write_images(size, folder / "images")
        (folder / "table.csv").write_text(table(size), encoding="utf-8")
    if "runs" in needs:
        _write_runs(size, folder / "runs")


def _write_images(size: int, root: Path) -> None:
    for pool in ("train", "test"):
        for title in ("NORMAL", "PNEUMONIA"):
            (root / pool / title).mkdir(parents=True)
    base = str(root)
    for number in range(size):
        path = _place(number)[0]
        # What follows the end of a PNG is ignored: each file has its own content.
        with open(f"{base}/{path}", "wb", buffering=0) as file:
            file.write(_PIXEL + path.encode())


def table(size: int) -> str:
    """A CSV file with a row per image and 14 labels, some of them unknown."""
    values = ("1.0", "0.0", "-1.0", "")
    lines = [",".join(("Path", "Patient", "Split", *LABELS))]
    for number in range(size):
        path = _place(number)[0]
        patient = number // _IMAGES_EACH
        labels = (values[(patient * 7 + place * place) % 11 % 4] for place in range(len(LABELS)))
        lines.append(",".join((path, f"p{patient}", path[: path.index("/")], *labels)))
    return "\n".join(lines) + "\n"


def records(size: int, several: bool = False) -> list[Record]:
    """The records of that many images, in the order of a dataset's: two classes, or 14 labels."""
    from pneumo_cli.data.records import Record
    from pneumo_cli.runtime.garbage import uncollected

    labels = [tuple(min((row * 7 + place * place) % 11 % 4 - 1, 1) for place in range(len(LABELS)))
              for row in range(11)]  # fmt: skip
    with uncollected():
        places = [(*_place(number), number // _IMAGES_EACH) for number in range(size)]
        places.sort(key=lambda place: (0 if several else place[1], place[0].rpartition("/")[2]))
        return [
            Record(
                name=path,
                label=0 if several else label,
                patient=f"p{patient}",
                pool="test" if path.startswith("test") else "train",
                digest=hashlib.sha256(path.encode()).hexdigest(),
                subtype="" if several or not label else ("bacteria" if patient % 3 else "virus"),
                labels=labels[patient % 11] if several else (),
            )
            for path, label, patient in places
        ]


def dataset(several: list[Record]) -> Dataset:
    """A dataset of records, without images."""
    from pneumo_cli.data.records import Dataset

    class Listed(Dataset):
        name, classes, synthetic = "listed", ("NORMAL", "PNEUMONIA"), True
        origin, place, records = "made", "memory", several

        def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
            raise NotImplementedError

    return Listed()


def prepared(size: int, side: int = 64) -> PreparedData:
    """Records with images of smooth noise, each its own."""
    import numpy as np
    import torch

    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.data.splits import overlaps, split_records

    made = records(size)
    split = split_records(made, "patient")
    coarse = torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images: Any = (
        (255 * torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)[:, 0]).byte().numpy()
    )
    return PreparedData(
        dataset=dataset(made),
        size=side,
        images=images,
        labels=np.array([record.label for record in made]),
        split=split,
        others=split,
        unreadable=(),
        overlaps=overlaps(made, split),
    )


def outcomes(size: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Logits, labels and patients of predictions, [N] each; AUC about 0.95."""
    import numpy as np

    generator = np.random.default_rng(0)
    patients = np.arange(size) // _IMAGES_EACH
    labels = (patients % 4 > 0).astype(np.int64)
    return generator.normal(2.3 * labels, 1.0), labels, patients


def outcomes_of_labels(size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits and labels of 14 labels, [N, 14] each."""
    import numpy as np

    generator = np.random.default_rng(0)
    labels = generator.integers(-1, 2, (size, len(LABELS)))
    return generator.normal(labels, 1.0), labels


def evaluation(size: int) -> Evaluation:
    """The outputs of a classifier of two classes."""
    import numpy as np

    from pneumo_cli.evaluation.result import Evaluation

    logits, labels, _ = outcomes(size)
    outputs: dict[str, Any] = {
        "index": np.arange(size),
        "logits": logits.astype(np.float32),
        "labels": labels,
        "predicted": (logits > 0).astype(np.int64),
    }
    return Evaluation(metrics={}, outputs=outputs)


def predictions(size: int, file: Path) -> Path:
    """A file of predictions, as runs write them."""
    logits, labels, patients = outcomes(size)
    with file.open("w", encoding="utf-8") as handle:
        handle.write("name,patient,subtype,logits,labels,predicted\n")
        for number, (logit, label, patient) in enumerate(
            zip(logits.tolist(), labels.tolist(), patients.tolist(), strict=True)
        ):
            handle.write(f"{_place(number)[0]},p{patient},bacteria,{logit},{label},{int(logit > 0)}\n")
    return file


# --- runs ---------------------------------------------------------------------------------------------------------


def _write_runs(size: int, root: Path) -> None:
    """Run folders with reports: nine of ten alone, the others in groups of five."""
    templates = root.parent / "reports"
    templates.mkdir()
    for variant in range(min(size, _REPORTS)):
        report = _report(variant)
        content = {f"run-{variant}.json": json.dumps(report), f"run-{variant}.toml": _toml(report, seeds=1)}
        content |= {f"group-{variant}.toml": _toml(report, seeds=5)}
        for name, text in content.items():
            (templates / name).write_text(text, encoding="utf-8")
    for number in range(size):
        variant, tens = number % _REPORTS, number // 10 * 10
        folder = f"{root}/cnn/2026-01-01-{number:06x}"
        if number % 10 < 5:
            group = f"{root}/cnn/2026-01-01-{tens:06x}-seeds"
            if number % 50 < 5:
                folder = f"{group}/members/seed-{number % 10}"
                if number % 10 == 0:
                    os.makedirs(group)
                    os.link(templates / f"group-{tens % _REPORTS}.toml", f"{group}/group.toml")
        os.makedirs(folder)
        os.link(templates / f"run-{variant}.toml", f"{folder}/run.toml")
        os.link(templates / f"run-{variant}.json", f"{folder}/report.json")


def _report(variant: int) -> dict[str, Any]:
    """About 60 kB, as the report of a short run has."""
    metrics = ("loss", "auc", "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "mcc",
               "average_precision", "brier", "ece")  # fmt: skip
    values = {name: 0.5 + (variant * 37 + place * 101) % 499 / 1000 for place, name in enumerate(metrics)}
    settings = {name: place for place, name in enumerate(_SETTINGS)} | {"epochs": 10, "lr": variant / 1000}
    return {
        "format": 1,
        "run": {"started": f"2026-01-{1 + variant % 28:02}T10:{variant % 60:02}:00"},
        **{kind: {"name": name} for kind, name in (("trainer", "cnn"), ("model", "cnn"))},
        "dataset": {"name": "chest-xray", "task": "binary"},
        "settings": [
            {"name": name, "value": value, "description": "what a setting means, in a sentence" * 2}
            for name, value in settings.items()
        ],
        "monitor": {"metric": "auc"},
        "history": [{"epoch": epoch, "train": values, "validation": values} for epoch in range(11)],
        "evaluations": dict.fromkeys(("train", "validation", "test"), values),
        "intervals": {split: {name: [value - 0.01, value + 0.01] for name, value in values.items()}
                      for split in ("validation", "test")},
        "details": {"curves": [[place / 977, variant + place / 1013] for place in range(900)]},
    }  # fmt: skip


_SETTINGS = tuple(f"setting_{place}" for place in range(55))


def _toml(report: dict[str, Any], seeds: int) -> str:
    settings = {item["name"]: item["value"] for item in report["settings"]} | {"seeds": seeds}
    lines = ['trainer = "cnn"', 'model = "cnn"', 'dataset = "chest-xray"', 'split = "patient"']
    lines += [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join([*lines, "", "[run]", f'started = "{report["run"]["started"]}"', ""])
