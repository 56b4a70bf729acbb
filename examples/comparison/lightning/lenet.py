"""A model: python main.py fit --model lenet.LeNet"""

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import nn
from torchmetrics.classification import BinaryAUROC


class LeNet(LightningModule):
    def __init__(self, channels: int = 1, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(channels, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(512, 84),
            nn.ReLU(),
            nn.Linear(84, 1),
        )
        self.auc = BinaryAUROC()

    def training_step(self, batch, index):
        images, labels = batch
        loss = F.binary_cross_entropy_with_logits(self.network(images).flatten(), labels.float())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        logits = self.network(images).flatten()
        self.auc(logits, labels)
        self.log("loss", F.binary_cross_entropy_with_logits(logits, labels.float()))
        self.log("auc", self.auc)

    def test_step(self, batch, index):
        self.validation_step(batch, index)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr, momentum=0.9)
