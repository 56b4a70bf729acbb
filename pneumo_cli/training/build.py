"""What a run is built from before its first step: model, optimizers, schedulers, transforms, pretrained weights."""

from __future__ import annotations

import torch

from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.runs.run import Run
from pneumo_cli.runs.updates import Updates
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.batch_size import smallest_batch


def build_run(run: Run, trainer: Trainer, hooks: RunHooks) -> None:
    """Make model, optimizers, schedulers and transforms, all seeded. Nothing is written.

    Raises:
        PneumoError: the trainer returned something else than it has to.
    """
    hooks.add_run_plugins(run)
    run.participants, run.extensions = hooks.participants(), hooks.extensions()
    run.transforms = trainer.build_transforms(run)
    seed_all(run.settings.seed, "model")
    model = hooks.tasks.build_model(run=run)
    if not isinstance(model, torch.nn.Module):
        raise PneumoError(f"build_model returned {type(model).__name__}, not a torch.nn.Module")
    run.model = model.to(device=run.device.torch).to(memory_format=run.device.memory_format)
    run.sources = trainer.build_sources(run)
    run.smallest_batch = smallest_batch(run, trainer)
    run.optimizers = trainer.build_optimizers(run)
    run.schedulers = trainer.build_schedulers(run)
    unknown = run.schedulers.keys() - run.optimizers.keys()
    if unknown:
        raise PneumoError(f"build_schedulers names {sorted(unknown)}, which build_optimizers does not")
    device = run.device.torch.type
    run.updates = Updates(
        run.optimizers,
        device_type=device,
        scaler=torch.amp.GradScaler(device, enabled=run.device.precision == "fp16"),
        ranks=run.ranks,
        accumulate=run.settings.accumulate,
        clip_norm=run.settings.clip_norm,
    )


def load_pretrained(run: Run, trainer: Trainer) -> None:
    """Load pretrained weights into a new model; the first rank first, as it may have to download them."""
    if run.ranks.first:
        loaded = trainer.load_pretrained(run)
        if loaded:
            run.note(loaded)
    run.ranks.barrier()
    if not run.ranks.first:
        trainer.load_pretrained(run)
