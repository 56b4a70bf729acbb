"""A small complete trainer of a third party, of which tests break one method each."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pneumo_cli.evaluation import Evaluation
from pneumo_cli.trainers import Trainer


class Probe(Trainer):
    """Two classes by one logit; its metrics are the loss and the accuracy."""

    def build_model(self, run):
        return run.create_model(channels=3, outputs=1)

    def train_step(self, run, batch):
        loss = self.loss(run.model(batch.images).flatten(), batch.labels)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run, loader):
        parts = [(one.index, one.labels, run.model(one.images).flatten()) for one in loader]
        columns = map(torch.cat, zip(*parts, strict=True))
        outputs = run.gather(dict(zip(("index", "label", "logit"), columns, strict=True)))
        logits, labels = torch.from_numpy(outputs["logit"]), torch.from_numpy(outputs["label"])
        metrics = {"loss": float(self.loss(logits, labels)), "accuracy": self.accuracy(logits, labels)}
        return Evaluation(metrics, outputs=outputs)

    def loss(self, logits, labels):
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float())

    def accuracy(self, logits, labels):
        return float(((logits >= 0) == labels).float().mean())
