"""A command: python rank_runs.py rank --metric auc --model MODEL

In a program of its own, as no other can be extended; commands of a LightningCLI need a model.
Reads what CSVLogger writes.
"""

import csv
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.cli import LightningCLI


class RankingTrainer(Trainer):
    def rank(self, model, folder: Path = Path("lightning_logs"), metric: str = "auc"):
        """List the runs below a folder by a metric of the test images."""
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        found = {}
        for path in folder.glob("*/metrics.csv"):
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    if row.get(metric):
                        found[path.parent.name] = float(row[metric])
        for value, name in sorted(((v, n) for n, v in found.items()), reverse=True):
            print(f"{value:.4f}  {name}")


class RankingCLI(LightningCLI):
    @staticmethod
    def subcommands():
        return {**LightningCLI.subcommands(), "rank": {"model"}}


if __name__ == "__main__":
    RankingCLI(trainer_class=RankingTrainer)
