"""The base class of transfer learning trainers. Public: third parties derive from it.

The first layers of a pretrained network are frozen (SOURCE 5 and 6), so their output is deterministic and is
computed once per image and cached. A subclass defines the frozen share. The head is always trained.
"""

from __future__ import annotations

import logging
import uuid
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from pneumo_cli.data.batch_inputs import Sources
from pneumo_cli.data.feature_cache import Features, Frozen, cached_features, prefix_digest
from pneumo_cli.data.source import present_code
from pneumo_cli.errors import UsageError
from pneumo_cli.registry import REGISTERED
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import TransferSettings
from pneumo_cli.specs import load_reference
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.classification import ClassificationTrainer
from pneumo_cli.trainers.pretrained import find_weights, load_pretrained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pneumo_cli.data.augmentation import Transform
    from pneumo_cli.data.batch_inputs import Inputs
    from pneumo_cli.data.loader import Batch
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec

_STOCHASTIC_DEPTH = ("StochasticDepth", "DropPath")  # the names of its classes in torchvision and in timm
_log = logging.getLogger("pneumo")


class TransferTrainer(ClassificationTrainer):
    """Trains the layers of a pretrained classifier that are not frozen.

    Args:
        settings: an instance of :class:`~pneumo_cli.settings.schema.TransferSettings` or a subclass.
    """

    settings: TransferSettings

    def __init__(self, settings: TransferSettings) -> None:
        super().__init__(settings)

    @property
    @abstractmethod
    def frozen_share(self) -> float:
        """The frozen share of the model's parameter tensors, in [0, 1]: the first int(share * tensors)."""

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Check that the pretrained weights are available and can be read, and the split."""
        super().check_request(entry)
        find_weights(entry, self.settings.weights, Progress())

    def build_model(self, run: Run) -> nn.Module:
        """The registered classifier, its first layers frozen.

        Raises:
            UsageError: as for every classifier; as :meth:`freeze`; or ``feature_views`` has no effect.
        """
        model = super().build_model(run)
        s = self.settings
        if s.feature_views:
            reason = ""
            if not s.augment:
                reason = "without augmentation all views are the same"
            elif not s.feature_cache:
                reason = "the cache of features is turned off"
            elif s.freeze_mode == "source":
                reason = "with freeze_mode = source the frozen part stays random"
            elif not self.prefix_length(run, model):
                reason = f"no first stage of {run.model_entry.spec.name} is frozen as a whole"
            if reason:
                raise UsageError(f"feature_views = {s.feature_views} has no use: {reason}")
        return model

    def freeze(self, entry: Entry[ModelSpec], model: nn.Module) -> dict[str, str]:
        """Freeze the first tensors of ``model.parameters()``, never the head's (SOURCE 5 and 6).

        Raises:
            UsageError: nothing is left to train.
        """
        tensors = list(model.parameters())
        stages = stages_of(entry.spec, model)
        head = {id(p) for p in stages[-1].parameters()} if stages else set()
        count = int(len(tensors) * self.frozen_share)
        for tensor in tensors[:count]:
            tensor.requires_grad_(id(tensor) in head)
        if not any(tensor.requires_grad for tensor in tensors):
            raise UsageError(
                f"the model {entry.spec.name} does not say which part of it is its head (ModelSpec.stages): "
                f"with {self.frozen_share:g} of it frozen nothing is left to train"
            )
        frozen = sum(not tensor.requires_grad for tensor in tensors)
        return {"Parameter tensors": f"{len(tensors):,}, of which the first {frozen:,} are frozen"}

    def load_pretrained(self, run: Run) -> str:
        """Load the weights that the setting ``weights`` names."""
        stages = stages_of(run.model_entry.spec, run.model)
        return load_pretrained(run.model, stages, run.model_entry, self.settings.weights, run.progress)

    def train_mode(self, run: Run) -> None:
        """Training mode; in the mode ``strict``, completely frozen modules stay in eval mode."""
        super().train_mode(run)
        if self.settings.freeze_mode != "source":
            for module in run.model.modules():
                if _frozen(module):
                    module.eval()

    def prefix_length(self, run: Run, model: nn.Module) -> int:
        """How many of the model's first stages are frozen and deterministic."""
        if self.settings.freeze_mode == "source":
            return 0
        for length, stage in enumerate(stages := stages_of(run.model_entry.spec, model)):
            trained = any(parameter.requires_grad for parameter in stage.parameters())
            if trained or (_random(stage) and not _frozen(stage)):
                return length
        return len(stages)

    def forward(self, run: Run, batch: Batch) -> torch.Tensor:
        """The outputs, computed from the stage that the batch's features have reached."""
        if not batch.stage:
            return super().forward(run, batch)
        values = batch.images
        for stage in stages_of(run.model_entry.spec, run.model)[batch.stage :]:
            values = stage(values)
        return values

    def cache_sources(self, run: Run) -> Sources:
        """Cache the output of the frozen stages where possible.

        That is always so for evaluation, and for training without augmentation or with ``feature_views`` views per
        image. A note says if training images are not cached.
        """
        length = self.prefix_length(run, run.model)
        s = self.settings
        if not length or not s.feature_cache:
            return run.sources
        if any(target.kind != "number" for target in run.data.dataset.targets):
            run.note(
                f"the images of {run.data.dataset.name} have masks or boxes, which follow each image, so the "
                "output of the frozen stages is not cached"
            )
            return run.sources
        parts = run.data.split.parts()
        # Without the test images, which are evaluated on only once, after training.
        evaluated = np.concatenate((parts["train"], parts["validation"]))
        plain = run.transforms.evaluation
        evaluation = self._cached(run, length, run.sources.evaluation, plain, evaluated, [1])
        train: Inputs | None = None
        if not s.augment and not s.flip_tta:
            train = evaluation
        elif not s.augment:
            train = self._cached(run, length, run.image_inputs(plain), plain, parts["train"], [1])
        elif s.feature_views:
            views = list(range(1, s.feature_views + 1))
            train = self._cached(run, length, run.sources.train, run.transforms.train, parts["train"], views)
        else:
            run.note(
                f"training images are augmented, so they pass the {length} frozen stages in every epoch; to cache "
                "the output: --no-augment, or --feature-views K for K augmented views of each"
            )
        return Sources(train or run.sources.train, evaluation or run.sources.evaluation, run.sources.test)

    def _cached(
        self,
        run: Run,
        length: int,
        inputs: Inputs,
        transform: Transform,
        positions: NDArray[np.int64],
        epochs: list[int],
    ) -> Features | None:
        """The output of the first ``length`` stages for some records; None if it cannot be cached."""
        transform_identity = getattr(transform, "identity", None)
        if transform_identity is None:
            name = type(transform).__name__
            _log.warning("the transform %s has no identity, so features of its images are not cached", name)
            return None
        run.model.eval()
        stages = stages_of(run.model_entry.spec, run.model)[:length]

        def prefix(values: torch.Tensor) -> torch.Tensor:
            with torch.no_grad(), run.device.autocast():
                features: torch.Tensor = nn.Sequential(*stages)(values)
            return features

        identity = {
            "dataset": run.data.fingerprint,
            "pixels": run.data.images_digest,
            "size": run.data.size,
            "transform": transform_identity,
            "inputs": type(inputs).__name__,
            "prefix": prefix_digest(stages),
            "precision": run.device.precision,
            "device": run.device.torch.type,
            "torch": torch.__version__,
            **code_of_registered(run.model_entry),
        }
        cached = partial(
            cached_features,
            Frozen(prefix, length, inputs, epochs, np.sort(positions), identity),
            records=len(run.data.labels),
            device=run.device.torch,
            cache=run.machine.cache,
            progress=run.progress,
        )
        # The first rank computes; the others then only read.
        features = cached() if run.ranks.first else None
        run.ranks.barrier()
        return features if run.ranks.first else cached(writes=False)


def code_of_registered(entry: Entry[ModelSpec]) -> dict[str, str]:
    """The code of a model that the running program registered, which may change without its weights.

    If it cannot be told, another text each time. Empty for models of plugins.
    """
    if entry.provenance.distribution != REGISTERED:
        return {}
    return {"code": present_code(load_reference(entry.spec.factory)) or uuid.uuid4().hex}


def _frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and none of them is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _random(stage: nn.Module) -> bool:
    """Whether a stage is random in training mode."""
    return any(
        (isinstance(module, _DropoutNd) and module.p > 0) or type(module).__name__ in _STOCHASTIC_DEPTH
        for module in stage.modules()
    )
