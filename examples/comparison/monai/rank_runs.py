import csv
from pathlib import Path


def rank(folder, metric):
    if not Path(folder).is_dir():
        raise FileNotFoundError(folder)
    found = {}
    for path in Path(folder).glob("*/metrics.csv"):
        with path.open(newline="") as file:
            for name, value in csv.reader(file):
                if name == metric:
                    found[path.parent.name] = float(value)
    for value, name in sorted(((v, n) for n, v in found.items()), reverse=True):
        print(f"{value:.4f}  {name}")
