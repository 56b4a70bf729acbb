"""A trainer of a new kind: pneumo run ddpm --plugin diffusion.py; pneumo generate RUN --plugin diffusion.py"""

import numpy as np
import torch

from pneumo_cli.api import Preset, TrainerSpec, hookimpl
from pneumo_cli.evaluation import Evaluation
from pneumo_cli.runtime import derive
from pneumo_cli.trainers import GenerativeTrainer

api_version = 1
STEPS = 1000


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="ddpm",
        summary="Denoising diffusion",
        trainer="diffusion:Diffusion",
        settings="pneumo_cli.settings:GenerativeSettings",
        kind="diffusion",
        model="denoising-unet",
        presets=(Preset(name="small", summary="32 px", values={"image_size": 32, "ema": 0.999}),),
    )


class Diffusion(GenerativeTrainer):
    black_level = -1.0
    kept = torch.linspace(1 - 1e-4, 0.98, STEPS).cumprod(0)

    def errors(self, model, images, step, noise):
        kept = self.kept[step].view(-1, 1, 1, 1).to(images.device)
        noisy = kept.sqrt() * images + (1 - kept).sqrt() * noise
        return (model(noisy, step.to(images.device) / STEPS) - noise).square().mean((1, 2, 3))

    def train_step(self, run, batch):
        step = torch.randint(STEPS, (len(batch.images),))
        loss = self.errors(run.model, batch.images, step, torch.randn_like(batch.images)).mean()
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run, loader):
        index, errors = [], []
        for batch in loader:
            generators = [torch.Generator().manual_seed(int(number)) for number in batch.index]
            step = torch.cat([torch.randint(STEPS, (1,), generator=one) for one in generators])
            noise = self.noise(run.model, generators).to(batch.images.device)
            errors.append(self.errors(run.model, batch.images, step, noise))
            index.append(batch.index)
        outputs = run.gather({"index": torch.cat(index), "error": torch.cat(errors)})
        return Evaluation({"loss": float(outputs["error"].mean())}, (), outputs)

    def epoch_images(self, run):
        return self.sample(run.model, derive(run.settings.seed, "fixed"), np.arange(16))

    def can_sample(self, model):
        return True

    def noise(self, model, generators):
        return torch.stack(
            [torch.randn(1, self.image_size, self.image_size, generator=g) for g in generators]
        )

    def from_noise(self, model, noise):
        images, steps = noise, torch.linspace(STEPS - 1, 0, 50).long()
        for step, after in zip(steps, [*self.kept[steps[1:]], torch.ones(())], strict=True):
            kept = self.kept[step]
            found = model(images, (step / STEPS).expand(len(images)).to(images.device))
            clean = ((images - (1 - kept).sqrt() * found) / kept.sqrt()).clamp(-1, 1)
            rest = (images - kept.sqrt() * clean) / (1 - kept).sqrt()
            images = after.sqrt() * clean + (1 - after).sqrt() * rest
        return images
