"""The tests that every model has to pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.specs import ModelSpec, load_reference
from pneumo_cli.testing.bits import different, same_bits, values_of
from pneumo_cli.testing.contract import ensure, keeping, skip, some
from pneumo_cli.testing.suite import Conformance


class ModelConformance(Conformance):
    """The tests that every model has to pass::

        class TestTiny(ModelConformance):
            name = "tiny"

    Attributes:
        name: the registered name, or ``distribution:name``.
        options: what trainers of its kind pass to the factory.
        sizes: heights and widths of input images that it has to accept, in pixels.
    """

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
    def entry(self, plugins: Plugins) -> Entry[ModelSpec]:
        """The model under test."""
        return plugins.models.get(self.name)

    @pytest.fixture
    def model(self, entry: Entry[ModelSpec]) -> torch.nn.Module:
        """A new instance, seeded."""
        return self._built(entry, 0)

    def test_equal_seeds_build_equal_weights(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> None:
        again = self._built(entry, 0).state_dict()
        changed = [k for k, value in model.state_dict().items() if not same_bits(value, again[k])]
        ensure(
            not changed,
            "a model that is built twice with the same seed has the same weights",
            f"{some(changed)} differ",
            "initialise with torch.nn.init or torch's global generator",
        )

    def test_a_classifier_returns_one_row_of_logits_per_image(
        self, entry: Entry[ModelSpec], model: torch.nn.Module
    ) -> None:
        if entry.spec.kind != "classifier":
            skip(f"{self.name} is of kind {entry.spec.kind}")
        model.eval()
        for size in self.sizes:
            with keeping(
                f"a classifier accepts images of {size} px", "pool adaptively, or state ModelSpec.size"
            ):
                shape = self.output(model, size).shape
            ensure(
                shape == (4, self.options["outputs"]),
                "a classifier maps images [B, C, H, W] to logits [B, outputs]",
                f"images [4, {self.options['channels']}, {size}, {size}] give {list(shape)}",
                "end with a linear layer of the keyword outputs",
            )

    def test_a_classifier_has_as_many_logits_and_channels_as_asked_for(self, entry: Entry[ModelSpec]) -> None:
        if entry.spec.kind != "classifier":
            skip(f"{self.name} is of kind {entry.spec.kind}")
        with keeping(
            "the factory of a classifier takes channels and outputs",
            "use both keywords: factory(channels, outputs)",
        ):
            channels = 1
            try:
                model = build_registered(entry, {**self.options, "channels": channels, "outputs": 5})
            except UsageError:  # one that takes no other images says so
                channels = self.options["channels"]
                model = build_registered(entry, {**self.options, "outputs": 5})
            size = self.sizes[0]
            shape = model.eval()(torch.rand(2, channels, size, size)).shape
        ensure(
            shape == (2, 5),
            "a classifier has as many logits as its factory is asked for",
            f"outputs = 5 gives {list(shape)} for 2 images",
            "end with a linear layer of the keyword outputs",
        )

    def test_outputs_are_finite_and_repeatable_in_eval_mode(self, model: torch.nn.Module) -> None:
        model.eval()
        before = values_of(model)
        with torch.no_grad():
            one, other = (self.output(model, self.sizes[0]) for _ in range(2))
        ensure(torch.isfinite(one).all(), "outputs are finite", "they are not", "scale the initial weights")
        ensure(
            torch.equal(one, other),
            "in eval mode equal images give equal outputs",
            "a second call gives others",
            "use random numbers in training mode only (if self.training)",
        )
        changed = different(before, values_of(model))
        ensure(
            not changed,
            "a forward pass in eval mode changes nothing",
            f"{some(changed)} changed",
            "update buffers in training mode only (if self.training)",
        )

    def test_gradients_reach_every_trainable_parameter(self, model: torch.nn.Module) -> None:
        model.train()
        self.output(model, self.sizes[0]).float().pow(2).sum().backward()
        unreached = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        ensure(
            not unreached,
            "gradients reach every trainable parameter",
            f"none reaches {some(unreached)}",
            "use them in forward(), remove them, or freeze them with requires_grad_(False)",
        )

    def test_it_computes_in_bf16(self, model: torch.nn.Module) -> None:
        rule = "a model computes under autocast in bf16"
        mend = "make no tensors of a fixed dtype in forward(); take that of the input"
        with keeping(rule, mend), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            finite = torch.isfinite(self.output(model.eval(), self.sizes[0])).all()
        ensure(finite, rule, "its outputs are not finite", mend)

    def test_a_copy_gives_the_same_outputs(self, model: torch.nn.Module) -> None:
        with keeping(
            "a model can be copied: --ema averages the weights of a copy", "keep plain values on modules"
        ):
            other = copy.deepcopy(model)
        with torch.no_grad():
            one, two = (self.output(each.eval(), self.sizes[0]) for each in (model, other))
        ensure(
            torch.equal(one, two), "a copy is the same model", "its outputs differ", "keep no state elsewhere"
        )

    def test_its_stages_are_the_forward_pass(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> None:
        if not entry.spec.stages:
            skip(f"{self.name} states no stages")
        rule = "the stages of a model, one after the other, are its forward pass"
        mend = "return all modules of the forward pass in order, the head last, functions as modules too"
        size = self.sizes[0]
        images = torch.rand(2, self.options.get("channels", 1), size, size)
        with keeping(rule, mend), torch.no_grad():
            expected = model.eval()(images)
            values = images
            for stage in load_reference(entry.spec.stages)(model):
                values = stage.eval()(values)
            same = torch.allclose(values, expected, rtol=1e-4, atol=1e-5)
        ensure(same, rule, "they give other outputs", mend)

    def test_its_weights_survive_a_checkpoint(
        self, entry: Entry[ModelSpec], model: torch.nn.Module, tmp_path: Path
    ) -> None:
        checkpoints = Checkpoints(tmp_path)
        rule = "the state dict of a model is all of it: a loaded one gives the same outputs"
        mend = "register what decides the outputs as parameters or buffers, and build nothing lazily in forward()"
        with keeping(rule, mend):
            checkpoints.save("best", {"model": model.state_dict()})
            other = self._built(entry, 1)
            other.load_state_dict(checkpoints.load("best")["model"])
        model.eval()
        other.eval()
        with torch.no_grad():
            same = torch.equal(self.output(model, self.sizes[0]), self.output(other, self.sizes[0]))
        ensure(same, rule, "its outputs differ", mend)

    def _built(self, entry: Entry[ModelSpec], seed: int) -> torch.nn.Module:
        seed_all(seed, "model")
        try:
            return build_registered(entry, self.options)
        except UsageError as error:
            mend = "return an nn.Module from the factory, for the keywords that trainers of this kind pass"
            with keeping("the factory of a model builds it", mend):
                raise error from error.__cause__
            raise
