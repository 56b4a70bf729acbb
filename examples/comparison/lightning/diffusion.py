"""A trainer of a new kind: python main.py fit --model diffusion.Diffusion; then test, and predict."""

import torch
from lightning import LightningModule
from torch.utils.data import DataLoader
from torchmetrics.image import KernelInceptionDistance
from torchvision.utils import save_image

STEPS = 1000


class Diffusion(LightningModule):
    def __init__(
        self, network: torch.nn.Module, size: int = 32, lr: float = 0.001, seed: int = 42, images: int = 1000
    ):
        super().__init__()
        self.save_hyperparameters(ignore="network")
        self.network = network
        self.register_buffer("kept", torch.linspace(1 - 1e-4, 0.98, STEPS).cumprod(0))
        self.kid = KernelInceptionDistance(torch.nn.Flatten(), subset_size=20, normalize=True)

    def errors(self, images, step, noise):
        kept = self.kept[step].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * images + (1 - kept).sqrt() * noise
        return (self.network(noisy, step / STEPS) - noise).square().mean((1, 2, 3))

    def training_step(self, batch, index):
        images = batch[0] * 2 - 1
        step = torch.randint(STEPS, (len(images),), device=self.device)
        loss = self.errors(images, step, torch.randn_like(images)).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        images = batch[0] * 2 - 1
        generator = torch.Generator().manual_seed(index)
        step = torch.randint(STEPS, (len(images),), generator=generator).to(self.device)
        noise = torch.randn(images.shape, generator=generator).to(self.device)
        self.log("loss", self.errors(images, step, noise).mean())

    def on_validation_epoch_end(self):
        sheet = self.sample(range(16), self.hparams.seed + 1)
        save_image(sheet, f"{self.trainer.default_root_dir}/epoch-{self.current_epoch:03}.png", nrow=4)

    def test_step(self, batch, index):
        self.kid.update(batch[0], real=True)
        self.validation_step(batch, index)

    def on_test_epoch_end(self):
        for first in range(0, self.hparams.images, 64):
            self.kid.update(self.sample(range(first, first + 64), self.hparams.seed), real=False)
        self.log("kid", self.kid.compute()[0])

    def predict_dataloader(self):
        return DataLoader(range(self.hparams.images), batch_size=64)

    def predict_step(self, index):
        for number, image in zip(index, self.sample(index, self.hparams.seed), strict=True):
            save_image(image, f"{self.trainer.default_root_dir}/{int(number):06}.png")

    def sample(self, index, seed):
        shape = 1, self.hparams.size, self.hparams.size
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + int(number)) for number in index]
        images = torch.stack([torch.randn(shape, generator=one) for one in generators]).to(self.device)
        steps = torch.linspace(STEPS - 1, 0, 50).long()
        for step, after in zip(steps, [*self.kept[steps[1:]], torch.ones(())], strict=True):
            kept = self.kept[step]
            found = self.network(images, (step / STEPS).expand(len(images)).to(self.device))
            clean = ((images - (1 - kept).sqrt() * found) / kept.sqrt()).clamp(-1, 1)
            rest = (images - kept.sqrt() * clean) / (1 - kept).sqrt()
            images = after.sqrt() * clean + (1 - after).sqrt() * rest
        return images / 2 + 0.5

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.hparams.lr)
