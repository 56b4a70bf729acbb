"""The contract: every hook has an example that runs, and a test that implements it."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest
import torch

from pneumo_cli.api import DatasetSpec, ModelFamily, ModelSpec, Preset, TrainerSpec, hookimpl
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.plugins import hookspecs
from pneumo_cli.plugins.hookspecs import KNOWN_HOOKS
from pneumo_cli.plugins.isolation import HookManager, implemented_hooks
from pneumo_cli.testing import runner_of
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.loaders import Loaders

GROUPS = (hookspecs.RegistrationHooks, hookspecs.TaskHooks, hookspecs.LifecycleHooks)


def example_of(hook: str) -> str:
    """The code of the example in a hook's docstring."""
    (group,) = [group for group in GROUPS if hook in vars(group)]
    text = inspect.getdoc(getattr(group, hook)) or ""
    match = re.search(r"^Example\b.*::\n\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    assert match, f"the hook {hook} has no example"
    return textwrap.dedent(match[1])


@pytest.mark.parametrize("hook", KNOWN_HOOKS)
def test_every_hook_has_an_example_that_runs_and_that_pluggy_accepts(hook: str) -> None:
    offered = {
        one.__name__: one
        for one in (Trainer, Evaluation, TrainerSpec, ModelSpec, ModelFamily, DatasetSpec, Preset)
    }
    names = {"hookimpl": hookimpl, **offered}
    exec(compile(example_of(hook), hook, "exec"), names)
    example = names.get(hook)
    if example is None:
        classes = [value for name, value in names.items() if inspect.isclass(value) and name not in offered]
        (example,) = classes
    if not inspect.isclass(example):  # a function of a plugin's module
        example = type("Module", (), {hook: staticmethod(example)})
    assert hook in vars(example)
    if not issubclass(example, Trainer):  # a trainer's methods need no decorator
        assert implemented_hooks(example) == (hook,)
        HookManager().register(example())
    if hook in ("register_trainers", "register_models", "register_datasets"):
        assert list(getattr(example(), hook)())


def test_the_example_of_evaluate_gives_the_metrics_of_a_split(fakes: Path, tmp_path: Path) -> None:
    names = {"Trainer": Trainer, "Evaluation": Evaluation, "torch": torch}
    exec(compile(example_of("evaluate"), "evaluate", "exec"), names)
    runner = runner_of("fake", dataset="conformance-tiny", cache=tmp_path / "cache", output=tmp_path / "runs")
    runner.build()
    loader = Loaders(runner.run).evaluation("validation")
    with torch.no_grad():
        evaluation = names["Probe"].evaluate(None, runner.run, loader)
    assert 0 <= evaluation.metrics["accuracy"] <= 1
    assert set(evaluation.outputs["index"].tolist()) == set(runner.run.data.split.validation.tolist())


def test_every_hook_is_implemented_by_some_test(trainer: Trainer) -> None:
    tests = Path(__file__).parents[1]
    sources = "\n".join(path.read_text() for path in tests.rglob("*.py"))
    implemented = set(re.findall(r"@hookimpl[^\n]*\n\s*def (\w+)", sources))
    implemented |= {name for name in vars(type(trainer)) if name in KNOWN_HOOKS}
    assert set(KNOWN_HOOKS) - implemented == set()


def test_the_groups_of_hooks_are_complete() -> None:
    assert set(hookspecs.TASK_HOOKS) == {
        name for name in vars(hookspecs.TaskHooks) if not name.startswith("_")
    }
    assert set(hookspecs.LIFECYCLE_HOOKS) == {
        name for name in vars(hookspecs.LifecycleHooks) if not name.startswith("_")
    }
