"""Functions that extensions put around the trainer's: order, errors, and two published methods as examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError, UsageError


class EndOfTest(BaseException):
    """Ends a run when a test has seen enough."""


class SAM:
    """Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412)."""

    rho = 0.05

    @hookimpl
    def around_train_step(self, run):
        def sam(train_step, batch):
            self.climbing = True
            train_step(batch)
            self.climbing = False
            return train_step(batch)

        return sam

    @hookimpl
    def around_optimize(self, run):
        kept = {}

        def optimize_there(optimize, loss, name):
            if self.climbing:
                gradients = run.gradients(loss, name)
                norm = torch.stack([g.norm() for g in gradients.values()]).norm()
                kept[name] = [(p, p.detach().clone()) for p in gradients]
                for parameter, gradient in gradients.items():
                    parameter.data.add_(gradient, alpha=float(self.rho / (norm + 1e-12)))
            else:
                run.backward(loss, name)
                for parameter, value in kept[name]:
                    parameter.data.copy_(value)
                run.update(name)

        return optimize_there


class Mixup:
    """Mixup (Zhang et al. 2018, arXiv 1710.09412): convex combinations of two images and of their losses."""

    alpha = 0.4

    @hookimpl
    def around_train_step(self, run):
        def mixed(train_step, batch):
            self.weight = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
            self.others = torch.randperm(len(batch.labels), device=batch.labels.device)
            return train_step(
                batch._replace(images=torch.lerp(batch.images[self.others], batch.images, self.weight))
            )

        return mixed

    @hookimpl
    def around_loss(self, run):
        def mixed_loss(loss, outputs, batch):
            other = batch._replace(labels=batch.labels[self.others], index=batch.index[self.others])
            return self.weight * loss(outputs, batch) + (1 - self.weight) * loss(outputs, other)

        return mixed_loss


class Stop:
    """Keeps the weights after some steps, and ends the run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @hookimpl
    def step_finished(self, run):
        if run.step == self.steps:
            self.run = run
            self.weights = torch.cat([p.detach().flatten().clone() for p in run.model.parameters()])
            self.updates = run.updates.counts["main"]
            raise EndOfTest


@pytest.fixture
def weights_after(start_run: Callable[..., Any]) -> Callable[..., Stop]:
    """Train some steps of a linear network with extensions."""

    def train(steps: int, *extensions: object, **settings: Any) -> Stop:
        stop = Stop(steps)
        common = {"model": "plain-net", "dataset": "tiny", "precision": "fp32", "augment": False}
        with pytest.raises(EndOfTest):
            start_run("fake", *extensions, stop, **(common | settings))
        return stop

    return train


def test_sam_is_a_step_of_sgd_with_the_gradient_at_the_perturbed_weights(weights_after) -> None:
    settings = {"batch_size": 8, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    seen = []

    class Reference:
        """The same update, from gradients that are computed by hand."""

        @hookimpl
        def around_train_step(self, run):
            def reference(train_step, batch):
                model = run.model
                parameters = list(model.parameters())
                before = [p.detach().clone() for p in parameters]

                def gradient():
                    return torch.autograd.grad(run.loss(model(batch.images), batch), parameters)

                first = gradient()
                norm = torch.cat([g.flatten() for g in first]).norm()
                for p, g in zip(parameters, first, strict=True):
                    p.data.add_(SAM.rho * g / norm)
                second = gradient()
                seen.append([b - 0.1 * g for b, g in zip(before, second, strict=True)])
                for p, b in zip(parameters, before, strict=True):
                    p.data.copy_(b)
                return train_step(batch)

            return reference

    sam = weights_after(1, SAM(), Reference(), **settings)
    plain = weights_after(1, **settings)
    expected = torch.cat([value.flatten() for value in seen[-1]])
    torch.testing.assert_close(sam.weights, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(sam.weights, plain.weights)
    assert sam.updates == 1, "the first of the two passes counts for nothing"


@pytest.mark.parametrize("extension", [SAM, Mixup])
def test_accumulation_and_clipping_work_with_an_extension(extension, weights_after) -> None:
    many = weights_after(4, extension(), batch_size=4, accumulate=4, clip_norm=1e-3, momentum=0.0, lr=1.0)
    assert many.updates == 4
    assert many.run.updates.complete
    once = weights_after(3, extension(), batch_size=4, accumulate=4, lr=1.0)
    assert not once.run.updates.complete
    start = weights_after(3, batch_size=4, accumulate=4, lr=1.0)
    assert torch.equal(once.weights, start.weights), "the weights are as before the incomplete update"
    assert 0 < float((many.weights - start.weights).norm()) <= 1.1e-3 + 0.1 * 1.0


def test_mixup_trains_on_mixed_images_and_losses(weights_after) -> None:
    mixed = weights_after(2, Mixup(), batch_size=8)
    assert torch.isfinite(mixed.weights).all()
    assert not torch.equal(mixed.weights, weights_after(2, batch_size=8).weights)


def test_an_extension_that_passes_everything_on_changes_no_bit(weights_after) -> None:
    class Through:
        @hookimpl
        def around_train_step(self, run):
            return lambda train_step, batch: train_step(batch)

        @hookimpl
        def around_loss(self, run):
            return lambda loss, outputs, batch: loss(outputs, batch)

        @hookimpl
        def around_optimize(self, run):
            return lambda optimize, loss, name: optimize(loss, name)

    class None_:
        @hookimpl
        def around_train_step(self, run):
            return None

    through, plain = weights_after(3, Through(), None_()), weights_after(3)
    assert torch.equal(through.weights, plain.weights)


def test_the_last_extension_added_is_the_outermost_and_wrappers_see_one_step(weights_after) -> None:
    calls: list[str] = []

    class Named:
        def __init__(self, name):
            self.name = name

        @hookimpl
        def around_train_step(self, run):
            def around(train_step, batch):
                calls.append(self.name)
                return train_step(batch)

            return around

    class Twice:
        @hookimpl(trylast=True)
        def around_train_step(self, run):
            return lambda train_step, batch: (train_step(batch), train_step(batch))[1]

    class Wrapper:
        @hookimpl(wrapper=True)
        def train_step(self, run, batch):
            calls.append("wrapper")
            return (yield)

    weights_after(1, Named("inner"), Named("outer"), Twice(), Wrapper())
    assert calls == ["wrapper", "outer", "inner"]


def test_gradients_count_for_nothing_and_are_those_of_the_batch(weights_after) -> None:
    found = {}

    class Watch:
        @hookimpl
        def around_optimize(self, run):
            def watch(optimize, loss, name):
                if not found:
                    found["own"] = run.gradients(loss, name)
                    assert all(p.grad is None for p in run.model.parameters())
                    optimize(loss, name)
                    found["optimize"] = {p: p.grad.clone() for p in run.model.parameters()}
                else:
                    optimize(loss, name)

            return watch

    watched, plain = weights_after(2, Watch()), weights_after(2)
    assert torch.equal(watched.weights, plain.weights)
    for parameter, gradient in found["own"].items():
        torch.testing.assert_close(gradient, found["optimize"][parameter])


# --- errors -----------------------------------------------------------------------------------------------------


def around(hook: str, function: Callable[..., Any]) -> object:
    """An extension of one function."""
    body = {hook: hookimpl(specname=hook)(lambda self, run: function)}
    return type("Broken", (), body)()


def fails(*arguments: Any) -> None:
    raise ZeroDivisionError("in the extension")


@pytest.mark.parametrize("hook", ["around_train_step", "around_loss", "around_optimize"])
def test_an_error_in_an_extensions_function_names_it(hook: str, weights_after) -> None:
    message = rf"extension further failed in {hook}: ZeroDivisionError: in the extension \(test_around"
    with pytest.raises(PneumoError, match=message):
        weights_after(1, around(hook, fails))


@pytest.mark.parametrize(
    ("hook", "value", "words"),
    [
        ("around_train_step", None, "returned None, not a mapping of tensors by name"),
        ("around_loss", None, "returned None, not a 0-d tensor"),
        ("around_loss", torch.zeros(3), r"returned a tensor of shape \[3\], not a 0-d tensor"),
    ],
)
def test_a_wrong_value_from_an_extensions_function_names_it(hook, value, words, weights_after) -> None:
    with pytest.raises(PneumoError, match=rf"extension further failed in {hook}: TypeError: .*{words}"):
        weights_after(1, around(hook, lambda *arguments: value))


def test_an_extension_that_returns_no_function_is_named(weights_after) -> None:
    with pytest.raises(
        PneumoError, match=r"extension further failed in around_loss: TypeError: .*not a function"
    ):
        weights_after(1, around("around_loss", "text"))


def test_an_error_of_the_trainer_inside_an_extension_is_the_trainers(weights_after, monkeypatch) -> None:
    from pneumo_fake.trainers import FakeTrainer

    def broken(self, run, outputs, batch):
        return outputs.detach().nothing

    monkeypatch.setattr(FakeTrainer, "training_loss", broken)
    through = around("around_loss", lambda loss, outputs, batch: loss(outputs, batch))
    step = around("around_train_step", lambda train_step, batch: train_step(batch))
    with pytest.raises(PneumoError) as caught:
        weights_after(1, through, step)
    assert str(caught.value).startswith(
        "trainer fake (pneumo-fake 1.0) failed in train_step: AttributeError: 'Tensor' object has no attribute"
    )
    assert isinstance(caught.value.__cause__, AttributeError)


def test_an_extension_of_the_loss_is_refused_by_a_trainer_that_has_none(start_run) -> None:
    with pytest.raises(UsageError, match=r"further .*loss.* duel"):
        start_run("duel", around("around_loss", lambda loss, outputs, batch: loss(outputs, batch)))
