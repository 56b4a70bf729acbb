"""The tests that every model has to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Entry
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.specs import ModelSpec
from pneumo_cli.testing.bits import same_bits


class ModelConformance:
    """The tests that every model has to pass::

        class TestTiny(ModelConformance):
            name = "tiny"

    Attributes:
        name: the registered name, or ``distribution:name``.
        options: what trainers of its kind pass to the factory.
        sizes: heights and widths of input images that it has to accept, in pixels.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {"channels": 3, "outputs": 1}
    sizes: ClassVar[tuple[int, ...]] = (32, 64)

    def output(self, model: torch.nn.Module, size: int) -> torch.Tensor:
        """The model's output for four random images; to be overridden for kinds with another input."""
        # A separate generator, so that a model that uses the global one in eval mode is detected.
        generator = torch.Generator().manual_seed(0)
        result = model(torch.randn(4, self.options.get("channels", 1), size, size, generator=generator))
        assert isinstance(result, torch.Tensor)
        return result

    @pytest.fixture
    def entry(self) -> Entry[ModelSpec]:
        """The model under test."""
        return discover().models.get(self.name)

    @pytest.fixture
    def model(self, entry: Entry[ModelSpec]) -> torch.nn.Module:
        """A new instance, seeded."""
        seed_all(0, "model")
        return build_registered(entry, self.options)

    def test_equal_seeds_build_equal_weights(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> None:
        seed_all(0, "model")
        again = build_registered(entry, self.options).state_dict()
        assert [k for k, value in model.state_dict().items() if not same_bits(value, again[k])] == []

    def test_a_classifier_returns_one_row_of_logits_per_image(
        self, entry: Entry[ModelSpec], model: torch.nn.Module
    ) -> None:
        if entry.spec.kind != "classifier":
            pytest.skip(f"{self.name} is of kind {entry.spec.kind}")
        model.eval()
        for size in self.sizes:
            assert self.output(model, size).shape == (4, self.options["outputs"])

    def test_outputs_are_finite_and_repeatable_in_eval_mode(self, model: torch.nn.Module) -> None:
        model.eval()
        with torch.no_grad():
            one, other = (self.output(model, self.sizes[0]) for _ in range(2))
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)

    def test_gradients_reach_every_trainable_parameter(self, model: torch.nn.Module) -> None:
        model.train()
        self.output(model, self.sizes[0]).float().pow(2).sum().backward()
        unreached = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert unreached == []

    def test_its_weights_survive_a_checkpoint(
        self, entry: Entry[ModelSpec], model: torch.nn.Module, tmp_path: Path
    ) -> None:
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save("best", {"model": model.state_dict()})
        seed_all(1, "model")
        other = build_registered(entry, self.options)
        other.load_state_dict(checkpoints.load("best")["model"])
        model.eval()
        other.eval()
        with torch.no_grad():
            assert torch.equal(self.output(model, self.sizes[0]), self.output(other, self.sizes[0]))
