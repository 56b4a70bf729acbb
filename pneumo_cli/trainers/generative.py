"""The base class of generative trainers. Public: third parties derive from it.

They train on gray images of one class, and generate images from noise (:meth:`GenerativeTrainer.sample`) or from
given images (:meth:`GenerativeTrainer.reconstruct`, :meth:`GenerativeTrainer.interpolate`). A trainer implements
those that its models support; they take a model and need neither the run's data nor its optimizers. Images are
evaluated in :mod:`pneumo_cli.evaluation.generative`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.data.batch_inputs import Sources, Transforms
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, RunSummary
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runtime.seeding import derive
from pneumo_cli.settings.schema import GenerativeSettings
from pneumo_cli.trainers.base import Trainer

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.generative.features import Extractor
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.capabilities import ImageGenerator

CHUNK = 64
"""Images per batch of :meth:`GenerativeTrainer.sample`: always a complete block of indices. The last bits of a
matrix product depend on its size and on the position within it; an image must depend on its seed and index alone.
"""

_COMPARED = 8  # real images above generated ones, at the top of a report

_FORMER = {
    "darkest": "black_level",
    "to_levels": "to_gray_levels",
    "from_levels": "from_gray_levels",
    "draws": "can_sample",
    "draw": "sample",
    "judged_parts": "evaluation_parts",
}


class GenerativeTrainer(Trainer, former=_FORMER):
    """Trains a registered model to generate images.

    Args:
        settings: an instance of :class:`~pneumo_cli.settings.schema.GenerativeSettings` or a subclass.

    Attributes:
        channels: of the model's images, in which the gray image is repeated.
        black_level: the model's value of black; white is 1.
        class_conditional: whether images of a chosen class can be sampled (:meth:`from_noise_of_class`).
        classes: of the dataset, in the order of its labels; empty before it is known.
    """

    settings: GenerativeSettings
    channels: int = 1
    black_level: float = 0.0
    class_conditional: bool = False
    classes: Sequence[str] = ()

    def __init__(self, settings: GenerativeSettings) -> None:
        super().__init__(settings)
        self._extractor: Extractor | None = None

    @property
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.settings.image_size

    @property
    def images_of(self) -> str:
        """The class to train on; empty: all."""
        return self.settings.images_of

    def as_generator(self) -> ImageGenerator:
        """This trainer."""
        return self

    @property
    def conditional_on(self) -> Sequence[str]:
        """The classes that can be sampled one by one: all that it is trained on, if it is conditional."""
        return self.classes if self.class_conditional and not self.images_of else ()

    def choose_task(self, task: Task, classes: Sequence[str]) -> None:
        """Remember the classes."""
        self.classes = tuple(classes)

    @property
    def only_class(self) -> str:
        """The class that the setting ``images_of`` names."""
        return self.settings.images_of

    def model_options(self) -> dict[str, Any]:
        """Channels and size of the images."""
        return {"channels": self.channels, "size": self.settings.image_size}

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Build the model on the meta device. Raises UsageError if it does not support the images."""
        with torch.device("meta"):
            build_registered(entry, self.model_options())

    def build_model(self, run: Run) -> nn.Module:
        """The registered model. Raises UsageError if it does not support the images."""
        self.choose_task(run.data.task, run.data.dataset.classes)
        return run.create_model(**self.model_options())

    def cache_sources(self, run: Run) -> Sources:
        """Cache nothing, but check what would otherwise fail only after training.

        Raises:
            UsageError: there are fewer training images than in a batch, or the feature extractor is not available.
        """
        count = len(run.data.split.train)
        if count < run.settings.batch_size:
            of = f" of {self.only_class}" if self.only_class else ""
            raise UsageError(
                f"a batch of {run.settings.batch_size} images is more than the {count} images{of} for training: "
                "lower --batch-size"
            )
        if run.ranks.first and self.compares(run):
            self.extractor(run)
        return super().cache_sources(run)

    def compares(self, run: Run) -> bool:
        """Whether generated images are compared with real ones, during or after training."""
        return bool(self.settings.fidelity_images) and self.can_sample(run.model)

    def build_transforms(self, run: Run) -> Transforms:
        """Gray levels from ``black_level`` to 1, without augmentation."""
        span = 1 - self.black_level
        plain = EvaluationTransform(
            channels=self.channels,
            mean=[-self.black_level / span] * self.channels,
            std=[1 / span] * self.channels,
            gray=True,
        )
        return Transforms(plain, plain)

    def to_gray_levels(self, images: Tensor) -> Tensor:
        """The model's images [B, C, S, S] as gray levels: uint8 [B, S, S] on the CPU, channels averaged."""
        gray = (images.float().mean(1) - self.black_level) / (1 - self.black_level)
        return (gray.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    def from_gray_levels(self, images: Tensor) -> Tensor:
        """Gray levels, uint8 [B, S, S], as the model's images: float32 [B, C, S, S]."""
        gray = images.unsqueeze(1).float() / 255 * (1 - self.black_level) + self.black_level
        return gray.expand(-1, self.channels, -1, -1)

    def can_sample(self, model: nn.Module) -> bool:
        """Whether new images can be sampled from a model of this trainer. Default: no."""
        return False

    def noise(self, model: nn.Module, generators: list[torch.Generator]) -> Tensor:
        """The noise of one image from each generator: float32 [B, ...] on the CPU."""
        raise NotImplementedError

    def from_noise(self, model: nn.Module, noise: Tensor) -> Tensor:
        """Images [B, C, S, S] that a model in eval mode generates from noise."""
        raise NotImplementedError

    def from_noise_of_class(self, model: nn.Module, noise: Tensor, label: int) -> Tensor:
        """As :meth:`from_noise`, images of one class only; of a conditional trainer.

        Args:
            label: the class, an index into ``classes``.
        """
        raise NotImplementedError

    def reconstruct(self, model: nn.Module, images: Tensor) -> Tensor:
        """See :class:`ImageGenerator`. Default: UsageError."""
        raise UsageError(f"{type(self).__name__} generates images from noise and reconstructs none")

    def interpolate(self, model: nn.Module, first: Tensor, last: Tensor, steps: int) -> Tensor:
        """See :class:`ImageGenerator`. Default: UsageError."""
        raise UsageError(f"{type(self).__name__} generates images from noise and interpolates between none")

    def sample(
        self, model: nn.Module, seed: int, index: NDArray[np.int64], label: int | None = None
    ) -> Tensor:
        """Images uint8 [B, S, S] of the indices [B], see :class:`ImageGenerator`."""
        blocks, places = np.unique(index // CHUNK, return_inverse=True)
        samples = torch.stack([self._block(model, seed, int(block), label) for block in blocks])
        return samples[torch.from_numpy(places), torch.from_numpy(index % CHUNK)]

    def _block(self, model: nn.Module, seed: int, block: int, label: int | None) -> Tensor:
        device = next(model.parameters()).device
        generators = [
            torch.Generator().manual_seed(derive(seed, "sample", block * CHUNK + place))
            for place in range(CHUNK)
        ]
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            noise = self.noise(model, generators).to(device)
            if label is None:
                return self.to_gray_levels(self.from_noise(model, noise))
            return self.to_gray_levels(self.from_noise_of_class(model, noise, label))

    def extractor(self, run: Run) -> Extractor:
        """The feature extractor for comparing images in this run, built once."""
        from pneumo_cli.trainers.feature_extractors import find_extractor

        if self._extractor is None:
            self._extractor = find_extractor(self.settings.extractor, run.registries, run.device)
        return self._extractor

    def evaluation_parts(self, run: Run) -> dict[str, NDArray[np.int64]]:
        """Positions of the images to evaluate on, by split, the test images last; without empty splits.

        With ``evaluate_test`` off, the test images are left out, and results are those of validation images.
        """
        excluded = {"train"} if run.settings.evaluate_test else {"train", "test"}
        splits = run.data.split.parts().items()
        return {name: positions for name, positions in splits if name not in excluded and len(positions)}

    def can_summarize(self, run: Run) -> bool:
        """Whether generated images are compared with real ones, or a subclass has a summary of its own."""
        return self.compares(run) or type(self).summarize is not GenerativeTrainer.summarize

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Compare generated images with real ones of held-out patients, if the settings ask for it."""
        if not self.compares(run):
            return None
        from pneumo_cli.evaluation.generative.collapse import failures
        from pneumo_cli.evaluation.generative.fidelity import measure_fidelity
        from pneumo_cli.reports.fidelity_tables import fidelity_summary

        samples = self.sample(run.model, run.settings.seed, np.arange(self.settings.fidelity_images))
        records = run.data.dataset.records
        held_out = next(reversed(self.evaluation_parts(run).values()), np.empty(0, np.int64))
        fidelity = measure_fidelity(
            {"generated": samples},
            training=run.data.gray_levels(run.data.split.train),
            held_out=run.data.gray_levels(held_out),
            patients=[records[position].patient for position in held_out],
            extractor=self.extractor(run),
            seed=run.settings.seed,
            progress=run.progress,
            cache=run.machine.cache,
        )
        found = fidelity_summary(fidelity)
        what_to_do, epochs = self.remedy(run)
        failed = tuple(f"{failure} {what_to_do}" for failure in failures(fidelity).values())
        opening = (self.compared_images(run, found.verdict),)
        own = RunSummary(figures=opening, notes=failed, warnings=failed, epochs=epochs if failed else 0)
        return own + found

    def remedy(self, run: Run) -> tuple[str, int]:
        """What to do about images that have collapsed or are no better than noise.

        Returns:
            a sentence or two, and the number of epochs, in all, to resume the run with; 0: more do not help.
        """
        epochs = 2 * run.settings.epochs
        return f"More epochs may help: resume the run with --epochs {epochs}.", epochs

    def compared_images(self, run: Run, verdict: str = "") -> NamedFigure:
        """Eight real images of held-out patients, evenly spaced, above the first eight generated ones.

        Args:
            verdict: on the generated images, for those who do not see them.
        """
        from pneumo_cli.reports.fidelity_tables import real_above_generated

        split, positions = next(reversed(self.evaluation_parts(run).items()), ("train", run.data.split.train))
        chosen = positions[
            np.linspace(0, len(positions) - 1, min(_COMPARED, len(positions))).astype(np.int64)
        ]
        of = {"train": "training"}.get(split, split) + " images"
        return real_above_generated(
            run.data.gray_levels(chosen),
            self.sample(run.model, run.settings.seed, np.arange(len(chosen))),
            f"{of} of {self.only_class}" if self.only_class else of,
            verdict,
        )
