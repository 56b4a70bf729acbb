import csv
from pathlib import Path

from sklearn.model_selection import StratifiedGroupKFold


def films(root, test_from, seed):
    with (Path(root) / "studies.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    items = [
        {"image": f"{root}/films/{row['film']}", "label": [float(row["finding"] == "pneumonia")]}
        for row in rows
    ]
    test = [int(row["year"]) >= test_from for row in rows]
    pool = [n for n, held_out in enumerate(test) if not held_out]
    split = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
    labels = [items[n]["label"][0] for n in pool]
    train, validation = next(split.split(pool, labels, [rows[n]["patient"] for n in pool]))
    return {
        "train": [items[pool[n]] for n in train],
        "validation": [items[pool[n]] for n in validation],
        "test": [item for item, held_out in zip(items, test, strict=True) if held_out],
    }
