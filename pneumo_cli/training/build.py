"""What a run is built from before its first step: model, optimizers, schedulers, transforms, pretrained weights."""

from __future__ import annotations

import torch

from pneumo_cli.data.batch_targets import check_movable
from pneumo_cli.plugins.results import wrong_result
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.runs.run import Run
from pneumo_cli.runs.updates import Updates
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.batch_size import smallest_batch
from pneumo_cli.training.breaches import Breach, broken, kind_of, method


def build_run(run: Run, trainer: Trainer, hooks: RunHooks) -> None:
    """Make model, optimizers, schedulers and transforms, all seeded. Nothing is written.

    Raises:
        PneumoError: the trainer or an extension failed, or returned something else than it has to.
        UsageError: a plugin cannot take part in the run.
    """
    hooks.add_run_plugins(run)
    run.participants, run.extensions = hooks.participants(), hooks.extensions()
    run.transforms = hooks.tasks.build_transforms(run=run)
    seed_all(run.settings.seed, "model")
    model = hooks.tasks.build_model(run=run)
    with method(run, "build_model", trainer):
        run.model = model.to(device=run.device.torch).to(memory_format=run.device.memory_format)
    run.sources = hooks.tasks.build_sources(run=run)
    entry = run.resolved.entry
    who = f"{entry.spec.name} ({entry.provenance})"
    check_movable(run.data.dataset.targets, run.transforms, run.sources, who)
    run.smallest_batch = smallest_batch(run, trainer)
    run.optimizers = hooks.tasks.build_optimizers(run=run)
    if trainer.updates_each_step and not _trains_the_model(run):
        raise broken(
            run, "build_optimizers", Breach("none of its optimizers has a parameter of the model to train")
        )
    run.schedulers = hooks.tasks.build_schedulers(run=run)
    unknown = run.schedulers.keys() - run.optimizers.keys()
    if unknown:
        what = f"it names {sorted(unknown)}, which build_optimizers does not ({sorted(run.optimizers)})"
        raise broken(run, "build_schedulers", Breach(what))
    device = run.device.torch.type
    run.updates = Updates(
        run.optimizers,
        device_type=device,
        scaler=torch.amp.GradScaler(device, enabled=run.device.precision == "fp16"),
        ranks=run.ranks,
        accumulate=run.settings.accumulate,
        clip_norm=run.settings.clip_norm,
    )
    run.functions = hooks.compose(run)


def cache_sources(run: Run, trainer: Trainer) -> None:
    """Let the trainer compute once what every epoch would recompute.

    Raises:
        PneumoError: it failed, or returned something else than sources.
    """
    with method(run, "cache_sources", trainer):
        sources = trainer.cache_sources(run)
        if problem := wrong_result("build_sources", sources):
            raise Breach(f"it returned {problem}")
    run.sources = sources


def _trains_the_model(run: Run) -> bool:
    own = {id(parameter) for parameter in run.model.parameters() if parameter.requires_grad}
    groups = [group for optimizer in run.optimizers.values() for group in optimizer.param_groups]
    return any(id(parameter) in own for group in groups for parameter in group["params"])


def load_pretrained(run: Run, trainer: Trainer) -> None:
    """Load pretrained weights into a new model; the first rank first, as it may have to download them."""
    if run.ranks.first:
        with method(run, "load_pretrained", trainer):
            loaded = trainer.load_pretrained(run)
            if not isinstance(loaded, str | None):
                raise Breach(f"it returned {kind_of(loaded)}, not text")
        if loaded:
            run.note(loaded)
    run.ranks.barrier()
    if not run.ranks.first:
        trainer.load_pretrained(run)
