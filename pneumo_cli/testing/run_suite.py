"""The tests of one short run, which they share: what steps, evaluation and resumption leave behind."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.evaluation.result import Evaluation, plain
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.testing.bits import Values, different, same_bits, values_of
from pneumo_cli.testing.contract import ensure, keeping, some
from pneumo_cli.testing.runs import DiesAt, Small, make_runner, run_until
from pneumo_cli.testing.suite import Conformance
from pneumo_cli.training.evaluation import evaluate_split
from pneumo_cli.training.runner import Runner

EPOCHS = 2
EARLY = (1, 2)  # the epoch and step after which runs with equal seeds are compared
_TRAINED = pytest.StashKey["Trained"]()


@dataclass(frozen=True)
class Trained:
    """A run of two epochs.

    Attributes:
        before, early, after: the parameters and buffers before the first step, after the second step, and at the
            end.
        idle: the parameters without a gradient at the end.
        apart: the optimizers that made steps apart from ``run.optimize``.
    """

    runner: Runner
    before: Values
    early: Values
    after: Values
    idle: frozenset[str]
    apart: frozenset[str]


def train(plugins: Plugins, small: Small) -> Trained:
    """Train two epochs, and keep what the checks look at."""
    watched = _Steps()
    with keeping("a run trains, is evaluated and saved", "mend what the trainer raises"):
        runner = run_until(DiesAt(EPOCHS), plugins, small.resolved("whole", epochs=EPOCHS), watched)
    model = runner.run.model
    idle = frozenset(name for name, one in model.named_parameters() if one.grad is None)
    return Trained(runner, watched.before, watched.early, values_of(model), idle, frozenset(watched.apart))


class RunConformance(Conformance):
    """The tests of one run.

    Attributes:
        pages: whether its report has pages and figures, which take longer than the training.
    """

    pages: ClassVar[bool] = False

    @pytest.fixture
    def small(self) -> Small:
        """Makes the settings of the short runs."""
        raise NotImplementedError

    @pytest.fixture
    def trained(
        self,
        plugins: Plugins,
        small: Small,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Trained:
        """One run for all tests of the class; none of them changes it."""
        kept: pytest.Stash = request.node.parent.stash
        if _TRAINED not in kept:
            kept[_TRAINED] = train(plugins, replace(small, folder=tmp_path_factory.mktemp("trained")))
        trained: Trained = kept[_TRAINED]
        return trained

    def test_a_run_that_dies_resumes_to_the_same_bits_and_ends_with_a_report(
        self, plugins: Plugins, small: Small, trained: Trained
    ) -> None:
        whole = trained.runner.run.folder
        with keeping("a run trains, is evaluated and saved", "mend what the trainer raises"):
            resolved = small.resolved("broken", epochs=EPOCHS)
            broken = run_until(DiesAt(EPOCHS, step=1), plugins, resolved).run.folder
        with keeping(
            "a run that died resumes, and ends with its report",
            "let nothing but the settings, the model's state dict, the optimizers and state_dict() decide what "
            "comes next, and return plain values and figures that can be drawn",
        ):
            reopened = reopen_settings(plugins, broken, {"report": self.pages})
            make_runner(plugins, reopened).resume(broken)
        for name in ("best", "last"):
            expected, actual = (Checkpoints(f.checkpoints).load(name)["model"] for f in (whole, broken))
            changed = different(expected, actual)
            ensure(
                not changed,
                "a run that died resumes to the same bits as one that did not",
                f"{some(changed)} in {name}.pt differ",
                "keep no state outside of the model and the optimizers but in state_dict() and load_state_dict(), "
                "and take random numbers from torch's global generator, which is seeded before each step, or from "
                "one seeded with run.settings.seed, run.epoch and run.step",
            )
        assert broken.report_html.is_file() == self.pages
        report = json.loads(broken.report_json.read_text(encoding="utf-8"))
        assert len(report["history"]) == 3

    def test_an_epoch_changes_what_is_trainable_and_nothing_that_is_frozen(self, trained: Trained) -> None:
        run = trained.runner.run
        parameters = dict(run.model.named_parameters())
        before, after = (
            {name: value for name, value in values.items() if name in parameters}
            for values in (trained.before, trained.after)
        )
        changed = set(different(before, after))
        frozen = sorted(name for name in changed if not parameters[name].requires_grad)
        ensure(
            not frozen,
            "training changes no frozen parameter (requires_grad = False)",
            f"{some(frozen)} changed",
            "give optimizers only parameters that require gradients, and write to none of them in train_step",
        )
        places = {id(p): name for name, p in parameters.items()}
        groups = {
            key: [places[id(p)] for group in one.param_groups for p in group["params"] if id(p) in places]
            for key, one in run.optimizers.items()
        }
        owned = {name for names in groups.values() for name in names}
        lost = [name for name, p in parameters.items() if p.requires_grad and name not in owned]
        ensure(
            not lost,
            "every trainable parameter belongs to an optimizer",
            f"{some(lost)} belong to none",
            "add them in build_optimizers, or freeze them with requires_grad_(False)",
        )
        for key, names in groups.items():
            wanted = [name for name in names if parameters[name].requires_grad]
            ensure(
                not wanted or changed & set(wanted),
                "an epoch of training changes the parameters of every optimizer",
                f"none of the {len(wanted)} parameters of the optimizer {key!r} has changed",
                f"call run.optimize(loss, {key!r}) in train_step with a loss that depends on them",
            )
        idle = [name for name in sorted((owned - changed) & trained.idle) if parameters[name].requires_grad]
        ensure(
            not idle,
            "gradients reach every trainable parameter",
            f"{some(idle)} received none in an epoch",
            "use them in the forward pass, or freeze them with requires_grad_(False)",
        )

    def test_optimizers_step_through_run_optimize_alone(self, trained: Trained) -> None:
        ensure(
            not trained.apart,
            "an optimizer steps through run.optimize alone, which accumulates, clips, scales and sums over ranks",
            f"{some(sorted(trained.apart))} made steps apart from it",
            "call run.optimize(loss, name) in place of loss.backward() and optimizer.step()",
        )

    def test_metrics_are_finite_plain_numbers(self, trained: Trained) -> None:
        run = trained.runner.run
        evaluation = _evaluated(trained.runner)
        for side, metrics in (("validation", evaluation.metrics), ("training", run.history[-1]["train"])):
            wrong = [
                name for name, value in metrics.items() if not isinstance(name, str) or not _number(value)
            ]
            ensure(
                not wrong,
                "metrics are numbers by name",
                f"of the {side} metrics {some(list(map(repr, wrong)))} are not",
                "return float(value) for each",
            )
        metric, monitored = run.monitor.metric, dict(run.history[-1][run.monitor.side])
        ensure(
            not metric or (metric in monitored and math.isfinite(float(monitored[metric]))),
            "the metric that is monitored is there, and finite",
            f"the {run.monitor.side} metrics are {plain(monitored)}, and {metric!r} is monitored",
            "return it from evaluate, or name another one in the property monitor",
        )
        ensure(
            run.monitor.mode in ("min", "max"),
            "the mode of Monitor is min or max",
            f"it is {run.monitor.mode!r}",
            'write Monitor("loss", "min")',
        )
        with keeping(
            "metrics and details can be written as JSON", "return lists of plain numbers, not arrays"
        ):
            json.dumps([plain(evaluation.metrics), dict(evaluation.details)])
        for figure in evaluation.figures:
            with keeping(f"the figure {figure.name} can be drawn", "return a matplotlib Figure from draw()"):
                ensure(
                    hasattr(figure.draw(), "savefig"),
                    "draw() of a figure returns a matplotlib Figure",
                    f"that of {figure.name} returns something else",
                    "return the figure",
                )

    def test_evaluation_changes_nothing_and_is_repeatable(self, trained: Trained) -> None:
        runner, run = trained.runner, trained.runner.run
        before, modes, trainable = _networks(run), _in_training(run.model), _trainable(run.model)
        seed_all(run.settings.seed, "evaluation", _split(runner), len(run.history))
        seed = torch.initial_seed()
        first = _evaluated(runner)
        changed = different(before, _networks(run))
        ensure(
            not changed,
            "evaluation changes neither weights nor buffers",
            f"{some(changed)} changed",
            "evaluate in eval mode, in which the model is given: call neither train() nor run.optimize",
        )
        # The average is evaluated in place of the model, which is left as it was.
        told = _in_training(run.model) if run.average is None else _in_training(run.average.module)
        told |= set() if run.average is None else modes ^ _in_training(run.model)
        told |= trainable ^ _trainable(run.model)
        ensure(
            not told,
            "evaluation leaves the model in eval mode, and what is frozen frozen",
            f"{some(sorted(told))} has another mode or requires_grad",
            "call neither train() nor requires_grad_() in evaluate",
        )
        ensure(
            torch.initial_seed() == seed,
            "evaluation does not seed torch's global generator",
            "it calls torch.manual_seed",
            "use a generator of your own: torch.Generator().manual_seed(…)",
        )
        second = _evaluated(runner)
        wrong = [name for name in first.metrics if not _equal(first.metrics[name], second.metrics.get(name))]
        wrong += [name for name in first.outputs if not _same(first.outputs[name], second.outputs.get(name))]
        ensure(
            not wrong,
            "two evaluations of the same weights give the same numbers",
            f"{some(wrong)} differ",
            "keep no state between evaluations, and take random numbers from torch's global generator, which is "
            "seeded before each evaluation",
        )


class _Steps:
    """Keeps the values before and after the first steps, and which optimizers step apart from ``run.optimize``."""

    def __init__(self) -> None:
        self.before: Values = {}
        self.early: Values = {}
        self.apart: set[str] = set()

    @hookimpl
    def epoch_started(self, run: Any) -> None:
        if run.epoch > 1:
            return
        self.before = values_of(run.model)
        for name, optimizer in run.optimizers.items():
            optimizer.register_step_pre_hook(partial(self._check, run, name))

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == EARLY:
            self.early = values_of(run.model)

    def _check(self, run: Any, name: str, *_: object) -> None:
        if not run.updates.running:
            self.apart.add(name)


def _split(runner: Runner) -> str:
    return "validation" if len(runner.run.data.split.validation) else "train"


def _evaluated(runner: Runner) -> Evaluation:
    split = _split(runner)
    with keeping("evaluate returns an Evaluation of finite metrics", "mend what evaluate raises or returns"):
        return evaluate_split(runner.run, runner.hooks, split, runner.loaders.evaluation(split))


def _networks(run: Any) -> Values:
    """The values of the model and of its average."""
    average = {} if run.average is None else values_of(run.average.module)
    return values_of(run.model) | {f"{name} of the average": value for name, value in average.items()}


def _in_training(model: torch.nn.Module) -> set[str]:
    return {name or "the model" for name, module in model.named_modules() if module.training}


def _trainable(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (str, bytes))


def _equal(one: Any, other: Any) -> bool:
    return other is not None and _same(np.asarray(float(one)), np.asarray(float(other)))


def _same(one: Any, other: Any) -> bool:
    return other is not None and same_bits(torch.from_numpy(np.array(one)), torch.from_numpy(np.array(other)))
