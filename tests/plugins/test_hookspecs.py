"""The contract: every hook has an example that runs, and a test that implements it."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest
import torch

from pneumo_cli import api
from pneumo_cli.api import hookimpl
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.plugins import hookspecs
from pneumo_cli.plugins.hookspecs import KNOWN_HOOKS
from pneumo_cli.plugins.isolation import HookManager, implemented_hooks
from pneumo_cli.testing import runner_of
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.loaders import Loaders

SPECS = {
    name: getattr(api, name) for name in api.__all__ if name.endswith(("Spec", "Family", "Preset", "Check"))
}
EXTENSIONS = (
    *("train_step", "build_optimizers", "build_schedulers", "build_transforms", "build_sources"),
    *hookspecs.AROUND_HOOKS,
)
"""The hooks whose example is an extension."""


def example_of(hook: str) -> str:
    """The code of the example in a hook's docstring."""
    (group,) = [group for group in hookspecs.HOOKS if hook in vars(group)]
    text = inspect.getdoc(getattr(group, hook)) or ""
    match = re.search(r"^Example\b.*::\n\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    assert match, f"the hook {hook} has no example"
    return textwrap.dedent(match[1])


@pytest.mark.parametrize("hook", KNOWN_HOOKS)
def test_every_hook_has_an_example_that_runs_and_that_pluggy_accepts(hook: str) -> None:
    offered = {**SPECS, "Trainer": Trainer, "Evaluation": Evaluation}
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
    if hook.startswith("register_") and hook != "register_commands":
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


@pytest.mark.parametrize("hook", EXTENSIONS)
def test_the_example_of_an_extension_takes_part_in_a_run(hook: str, start_run) -> None:
    names = {"hookimpl": hookimpl, "torch": torch}
    exec(compile(example_of(hook), hook, "exec"), names)
    (example,) = [value for value in names.values() if inspect.isclass(value)]

    class EndOfTest(BaseException):
        """Ends the run after a step."""

    class Ends:
        @hookimpl
        def step_finished(self, run, metrics):
            assert run.extensions == {"further": ""}
            assert ("twice" in metrics) is (hook == "train_step")
            raise EndOfTest

    with pytest.raises(EndOfTest):
        start_run("fake", example(), Ends(), model="plain-net")


def test_every_hook_is_implemented_by_some_test(trainer: Trainer) -> None:
    tests = Path(__file__).parents[1]
    files = [*tests.rglob("*.py"), *tests.parent.glob("plugins/*/tests/*.py")]
    sources = "\n".join(path.read_text() for path in files)
    # Also in sources of plugins, which are texts over several lines.
    implemented = set(re.findall(r'@hookimpl(?:\([^)]*\))?(?:\\n|["\s])*def (\w+)', sources))
    implemented |= {name for name in vars(type(trainer)) if name in KNOWN_HOOKS}
    assert set(KNOWN_HOOKS) - implemented == set()
