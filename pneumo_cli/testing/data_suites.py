"""The tests that splits, samplers and feature extractors have to pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pneumo_cli.data.registered import RegisteredSampling, split_by
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.specs import ExtractorSpec, SamplerSpec, SplitSpec, load_reference
from pneumo_cli.testing.contract import ensure, keeping
from pneumo_cli.testing.datasets import TinyDataset
from pneumo_cli.testing.suite import Conformance


class SplitConformance(Conformance):
    """The tests that every split policy has to pass.

    Example::

        class TestByYear(SplitConformance):
            name = "by-year"
    """

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[SplitSpec]:
        """The policy under test."""
        return plugins.splits.get(self.name)

    def test_it_divides_the_training_pool(self, entry: Entry[SplitSpec]) -> None:
        with keeping(
            "a split returns (train, validation), positions of the training pool, decided by fraction and seed",
            "return positions in records without those of the pool test, none twice and none on both sides",
        ):
            split_by(entry, TinyDataset().records, self.name, 0.25, 1)


class SamplerConformance(Conformance):
    """The tests that every sampler has to pass.

    Example::

        class TestOnePerPatient(SamplerConformance):
            name = "one-per-patient"
    """

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[SamplerSpec]:
        """The sampler under test."""
        return plugins.samplers.get(self.name)

    def test_it_chooses_among_the_training_images(self, entry: Entry[SamplerSpec]) -> None:
        records = TinyDataset().records
        positions = np.array([i for i, record in enumerate(records) if record.pool == "train"], np.int64)
        with keeping(
            "a sampler returns positions of the given ones, as many in every epoch, decided by seed and epoch",
            "choose from the argument positions with np.random.default_rng([seed, epoch])",
        ):
            sampling = RegisteredSampling(entry, positions, records, 1)
            for epoch in (1, 2, 3):
                sampling.of(epoch)


class ExtractorConformance(Conformance):
    """The tests that every feature extractor has to pass.

    Example::

        class TestPixels(ExtractorConformance):
            name = "our-pixels"
    """

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[ExtractorSpec]:
        """The extractor under test."""
        return plugins.extractors.get(self.name)

    def test_features_are_finite_and_depend_on_their_image_alone(self, entry: Entry[ExtractorSpec]) -> None:
        images = torch.randint(0, 256, (4, 32, 32), generator=torch.Generator().manual_seed(0)).to(
            torch.uint8
        )
        rule = "an extractor maps uint8 images [B, S, S] to finite float32 features [B, F] on the CPU"
        mend = "return features.float().cpu() of a network in eval mode, computed without gradients"
        with keeping(rule, mend):
            extract = load_reference(entry.spec.factory)(torch.device("cpu"))
            features, alone = extract(images.clone()), extract(images[2:3].clone())
        shape = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        right = isinstance(features, torch.Tensor) and features.ndim == 2 and len(features) == len(images)
        ensure(right and features.dtype == torch.float32, rule, f"4 images give {shape}", mend)
        ensure(
            torch.isfinite(features).all() and not features.requires_grad, rule, "they are not finite", mend
        )
        ensure(
            torch.allclose(features[2:3], alone, rtol=1e-3, atol=1e-4),
            "the features of an image depend on no other image",
            "an image alone has other features than among others",
            "put the network into eval mode",
        )
