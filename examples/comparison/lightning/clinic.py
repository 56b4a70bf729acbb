"""A dataset: python main.py fit --data clinic.Clinic --data.root FOLDER"""

import csv
from pathlib import Path

import torch
from lightning import LightningDataModule
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Films(Dataset):
    def __init__(self, root, rows, size):
        self.root, self.rows = root, rows
        self.transform = v2.Compose(
            [v2.PILToTensor(), v2.Resize((size, size)), v2.ToDtype(torch.float32, scale=True)]
        )

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        with Image.open(self.root / "films" / row["film"]) as film:
            return self.transform(film.convert("L")), int(row["finding"] == "pneumonia")


class Clinic(LightningDataModule):
    def __init__(
        self, root: Path, size: int = 64, batch_size: int = 16, test_from: int = 2026, seed: int = 42
    ):
        super().__init__()
        self.root, self.size, self.batch_size = root, size, batch_size
        self.test_from, self.seed = test_from, seed

    def setup(self, stage):
        with (self.root / "studies.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.test = [row for row in rows if int(row["year"]) >= self.test_from]
        pool = [row for row in rows if int(row["year"]) < self.test_from]
        labels = [row["finding"] == "pneumonia" for row in pool]
        split = StratifiedGroupKFold(4, shuffle=True, random_state=self.seed)
        train, validation = next(split.split(pool, labels, [row["patient"] for row in pool]))
        self.train, self.validation = [pool[n] for n in train], [pool[n] for n in validation]

    def loader(self, rows, shuffle=False):
        films = Films(self.root, rows, self.size)
        return DataLoader(films, self.batch_size, shuffle=shuffle, num_workers=2)

    def train_dataloader(self):
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self):
        return self.loader(self.validation)

    def test_dataloader(self):
        return self.loader(self.test)
