"""A trainer that inherits from the classification trainer, and one that implements all hooks itself."""

import torch
import torch.nn.functional as F

from pneumo_cli.evaluation import Evaluation
from pneumo_cli.trainers import ClassificationTrainer, Trainer


class FakeTrainer(ClassificationTrainer):
    pass


class DuelTrainer(Trainer):
    """A minimal GAN; its noise comes from torch's global generator, as an author would write it."""

    def build_model(self, run):
        return run.create_model(latent=self.settings.latent)

    def build_optimizers(self, run):
        return {
            "generator": torch.optim.Adam(run.model.generator.parameters(), 1e-3),
            "discriminator": torch.optim.Adam(run.model.discriminator.parameters(), 1e-3),
        }

    def train_step(self, run, batch):
        real = batch.images[:, :1]
        fake = run.model.generator(torch.randn(len(real), self.settings.latent))
        discriminator = run.model.discriminator
        critic_loss = _loss(discriminator(real), 1.0) + _loss(discriminator(fake.detach()), 0.0)
        run.optimize(critic_loss, "discriminator")
        generator_loss = _loss(discriminator(fake), 1.0)
        run.optimize(generator_loss, "generator")
        return {"loss": critic_loss.detach(), "generator_loss": generator_loss.detach()}

    def evaluate(self, run, loader):
        index, values = [], []
        for batch in loader:
            values.append(F.softplus(-run.model.discriminator(batch.images[:, :1]).float()).flatten())
            index.append(batch.index)
        outputs = run.gather({"index": torch.cat(index), "losses": torch.cat(values)})
        return Evaluation({"loss": float(outputs["losses"].mean())}, outputs=outputs)


def _loss(logits, target):
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target).float())
