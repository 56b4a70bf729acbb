"""Hooks behave as pluggy documents, and one implementation that fails is named and left out."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation, NamedTable, ReportSection
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.registry import Provenance
from pneumo_cli.trainers.base import Trainer

SOURCE = Provenance("pneumo-listening", "2.1")


class Complete(Trainer):
    """The smallest trainer that is one."""

    def build_model(self, run):
        return torch.nn.Linear(1, 1)

    def train_step(self, run, batch):
        return {"loss": torch.tensor(float(batch))}

    def evaluate(self, run, loader):
        return Evaluation({"loss": 0.0})


def hooks_of(*plugins: object) -> RunHooks:
    taking_part = [(type(plugin).__name__, plugin, SOURCE) for plugin in plugins]
    return RunHooks(Complete(settings=None), taking_part)


def listener(calls: list[str], name: str, **options: Any) -> object:
    class Listener:
        @hookimpl(**options)
        def epoch_started(self, epoch):
            calls.append(name)

    return Listener()


# --- a run's hooks -----------------------------------------------------------------------------------------------


def test_who_was_added_last_is_called_first_but_for_tryfirst_and_trylast() -> None:
    calls: list[str] = []
    hooks = hooks_of(
        listener(calls, "first added"),
        listener(calls, "tryfirst", tryfirst=True),
        listener(calls, "last", trylast=True),
        listener(calls, "last added"),
    )
    hooks.notify("epoch_started", run=None, epoch=1)
    assert calls == ["tryfirst", "last added", "first added", "last"]


@pytest.mark.parametrize("style", ["wrapper", "hookwrapper"])
def test_a_wrapper_of_a_lifecycle_hook_runs_around_the_observers(style: str) -> None:
    calls: list[str] = []

    class Around:
        @hookimpl(**{style: True})
        def epoch_started(self, epoch):
            calls.append(f"before {epoch}")
            result = yield
            calls.append("after")
            return result

    hooks_of(Around(), listener(calls, "observer")).notify("epoch_started", run=None, epoch=3)
    assert calls == ["before 3", "observer", "after"]


def test_a_method_of_any_name_implements_the_hook_that_specname_names() -> None:
    calls: list[str] = []

    class Renamed:
        @hookimpl(specname="epoch_started")
        def on_epoch(self, epoch):
            calls.append(f"epoch {epoch}")

        @hookimpl(specname="train_step", wrapper=True)
        def around_the_step(self, batch):
            metrics = yield
            return {**metrics, "batch": batch}

    hooks = hooks_of(Renamed())
    hooks.notify("epoch_started", run=None, epoch=2)
    assert calls == ["epoch 2"]
    assert hooks.tasks.train_step(run=None, batch=5)["batch"] == 5
    assert hooks.extensions() == ["Renamed"]


def test_a_default_of_an_argument_is_kept() -> None:
    calls: list[int] = []

    class Defaulting:
        @hookimpl
        def epoch_started(self, epoch, step=7):
            calls.append(epoch + step)

    hooks_of(Defaulting()).notify("epoch_started", run=None, epoch=1)
    assert calls == [8]


class BeforeIt:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        raise ValueError("before")
        yield


class AfterIt:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        yield
        raise ValueError("after")


class Twice:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        yield
        yield


class OldStyle:
    @hookimpl(hookwrapper=True)
    def epoch_started(self):
        yield
        raise ValueError("old style")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (BeforeIt(), "ValueError: before"),
        (AfterIt(), "ValueError: after"),
        (Twice(), "RuntimeError: a wrapper has to yield once, not twice"),
        (OldStyle(), "ValueError: old style"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrapper_that_fails_is_named_once_with_its_distribution_and_the_others_go_on(
    broken: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    hooks = hooks_of(broken, listener(calls, "observer"))
    with caplog.at_level(logging.WARNING, "pneumo"):
        for epoch in (1, 2):
            hooks.notify("epoch_started", run=None, epoch=epoch)
    assert calls == ["observer", "observer"]
    (message,) = [record.getMessage() for record in caplog.records]
    name = type(broken).__name__
    assert message == (
        f"observer {name} (pneumo-listening 2.1) failed in epoch_started and is dropped for this run: {words}"
    )


def test_what_a_wrapper_of_a_task_hook_raises_ends_the_run() -> None:
    class Failing:
        @hookimpl(wrapper=True)
        def train_step(self):
            yield
            raise ZeroDivisionError("in the wrapper")

    with pytest.raises(ZeroDivisionError, match="in the wrapper"):
        hooks_of(Failing()).tasks.train_step(run=None, batch=1)


def test_a_wrapper_may_leave_out_or_add_what_takes_part_in_a_run() -> None:
    calls: list[str] = []
    unwanted, wanted, further = (listener(calls, name) for name in ("unwanted", "wanted", "further"))

    class Maker:
        @hookimpl
        def plugins_for_run(self):
            return [unwanted, wanted]

    class Choosing:
        @hookimpl(wrapper=True)
        def plugins_for_run(self):
            parts = yield
            return [[plugin for part in parts for plugin in part if plugin is not unwanted], [further]]

    hooks = hooks_of(Maker(), Choosing())
    hooks.add_made_for(None)
    hooks.notify("epoch_started", run=None, epoch=1)
    assert sorted(calls) == ["further", "wanted"]


def test_sections_of_a_report_carry_their_plugin_and_one_that_is_none_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Sections:
        @hookimpl
        def add_to_report(self, run, evaluations):
            yield ReportSection("Size", "Small.", (NamedTable("T", ("a",), (("1",),)),))

    class Strange:
        @hookimpl
        def add_to_report(self):
            return ["no section"]

    with caplog.at_level(logging.WARNING, "pneumo"):
        found = hooks_of(Strange(), Sections()).report_sections(None, {})
    assert [(name, section.title) for name, section in found] == [("Sections (pneumo-listening 2.1)", "Size")]
    assert "observer Strange (pneumo-listening 2.1) failed in add_to_report" in caplog.text


# --- registration ------------------------------------------------------------------------------------------------

REGISTER = """
from pneumo_cli.api import ModelSpec, hookimpl
api_version = 1
def spec(name):
    return ModelSpec(name=name, kind="classifier", summary="One more", factory="pneumo_fake.models:tiny_net")
"""


def test_a_registration_hook_may_have_another_name_and_an_optional_hook_may_be_unknown(
    install, fakes
) -> None:
    source = """
@hookimpl(specname="register_models")
def models_of_mine():
    yield spec("renamed")
@hookimpl(optionalhook=True)
def register_what_a_later_version_has():
    return []
"""
    install("pneumo-further", {"further": "further_plugin"}, {"further_plugin": REGISTER + source})
    plugins = discover()
    assert plugins.problems == []
    assert plugins.models.get("renamed").provenance.distribution == "pneumo-further"
    (plugin,) = [plugin for plugin in plugins.loaded if plugin.name == "further"]
    assert plugin.hooks == ("register_models",)


def test_a_wrapper_of_registration_sees_what_the_others_register_and_adds_its_own(install, fakes) -> None:
    source = """
@hookimpl(wrapper=True)
def register_models():
    parts = yield
    kept = [one for part in parts for one in part if one.name != "plain-net"]
    return [kept, [spec("added")]]
"""
    install("pneumo-filter", {"filter": "filter_plugin"}, {"filter_plugin": REGISTER + source}, "0.7")
    plugins = discover()
    assert plugins.problems == []
    names = plugins.models.names()
    assert "plain-net" not in names
    assert str(plugins.models.get("added").provenance) == "pneumo-filter 0.7"
    assert str(plugins.models.get("tiny-net").provenance) == "pneumo-fake 1.0"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    1 / 0\n    yield\n", "ZeroDivisionError"),
        ("    yield\n    1 / 0\n", "ZeroDivisionError"),
        ("    return []\n", "generator"),
        ("    yield\n", "TypeError"),
        ("    yield\n    return [['x']]\n", "register_models returned 'x', not a ModelSpec"),
    ],
    ids=["before", "after", "no generator", "returns nothing", "no spec"],
)
def test_a_broken_wrapper_of_registration_is_named_and_costs_only_itself(
    body: str, words: str, install, fakes
) -> None:
    source = REGISTER + "@hookimpl(wrapper=True)\ndef register_models():\n" + body
    install("pneumo-broken", {"broken": "broken_wrapper"}, {"broken_wrapper": source}, "0.3")
    plugins = discover()
    (problem,) = plugins.problems
    assert (problem.plugin, str(problem.provenance), problem.stage) == (
        "broken",
        "pneumo-broken 0.3",
        "hooks" if "return []" in body else "register",
    )
    assert words in problem.error
    if words != "register_models returned 'x', not a ModelSpec":
        assert "tiny-net" in plugins.models.names()


def test_tryfirst_decides_whose_command_keeps_its_name(install, pneumo) -> None:
    command = """
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl({options})
def register_commands(app):
    @app.command()
    def greet():
        "Greet."
        print("from {name}")
"""
    for name, options in (("one", ""), ("two", "tryfirst=True")):
        module = f"greeting_{name}"
        install(f"pneumo-{name}", {name: module}, {module: command.format(name=name, options=options)})
    done = pneumo("greet")
    assert done.stdout == "from two\n"
    assert "plugin one (pneumo-one 1.0): register: register_commands: the command 'greet' exists already" in (
        done.stderr
    )


def test_a_plugin_adds_a_command_to_a_group_of_the_core_and_takes_none_of_it(install, pneumo) -> None:
    source = """
import typer
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def register_commands(app):
    data = typer.Typer()
    app.add_typer(data, name="data")
    @data.command()
    def {name}():
        "Count."
        print("counted")
"""
    install("pneumo-count", {"count": "count_plugin"}, {"count_plugin": source.format(name="count")})
    assert pneumo("data", "count").stdout == "counted\n"
    shown = pneumo("data", "--help").stdout
    assert "count" in shown
    assert "check" in shown
    install("pneumo-taker", {"taker": "taker_plugin"}, {"taker_plugin": source.format(name="check")})
    assert "the command 'check' exists already" in pneumo("list-models").stderr


# --- predictors and health checks --------------------------------------------------------------------------------


def test_a_plugin_that_raises_while_it_looks_at_a_model_is_named_and_another_answers(install, fakes) -> None:
    sources = {
        "clumsy": "    raise KeyError('oops')\n",
        "knowing": "    return 'the predictor' if path.suffix == '.joblib' else None\n",
    }
    head = "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef open_predictor(path, request):\n"
    for name, body in sources.items():
        install(f"pneumo-{name}", {name: f"{name}_opener"}, {f"{name}_opener": head + body})
    plugins = discover()
    from pathlib import Path

    assert plugins.first("open_predictor", path=Path("x.joblib"), request=None) == "the predictor"
    assert "clumsy (pneumo-clumsy 1.0): register: open_predictor: KeyError" in str(plugins.problems[-1])
    assert plugins.first("open_predictor", path=Path("x.pt"), request=None) is None


def test_what_a_plugin_says_of_its_own_format_is_the_answer(install, fakes) -> None:
    source = (
        "from pneumo_cli.api import hookimpl\nfrom pneumo_cli.errors import UsageError\napi_version = 1\n"
        "@hookimpl(tryfirst=True)\ndef open_predictor(path):\n    raise UsageError('a forest of another version')\n"
    )
    install("pneumo-forest", {"forest": "forest_opener"}, {"forest_opener": source})
    with pytest.raises(PneumoError, match="a forest of another version"):
        discover().first("open_predictor", path=None, request=None)


BRIGHTNESS = """
import json
import numpy as np
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def open_predictor(path, request):
    if path.suffix != ".brightness":
        return None
    from pneumo_cli.evaluation.decision_rule import DecisionRule
    from pneumo_cli.inference.predictor import Predictor
    class Brightness(Predictor):
        rule = DecisionRule(("dark", "bright"))
        point = rule.point
        sizes = (32,)
        facts = {"run": str(path), "model": "brightness", "checkpoint": request.checkpoint}
        def logits(self, images):
            return images[32].mean((1, 2)) / 255 - json.loads(path.read_text())["threshold"]
        def maps(self, images, positive):
            raise NotImplementedError
    return Brightness()
"""


def test_a_model_of_a_format_of_ones_own_predicts(install, pneumo, fakes) -> None:
    import numpy as np
    from PIL import Image

    install("pneumo-brightness", {"brightness": "brightness_opener"}, {"brightness_opener": BRIGHTNESS})
    (fakes / "model.brightness").write_text('{"threshold": 0.5}')
    for name, level in (("dark", 20), ("bright", 240)):
        Image.fromarray(np.full((40, 40), level, np.uint8)).save(fakes / f"{name}.png")
    done = pneumo("predict", "model.brightness", "bright.png", "dark.png", "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["decision"] for one in found["predictions"]] == ["bright", "dark"]
    assert found["model"] == "brightness"


def test_an_exported_model_without_the_plugin_that_reads_it_names_it(pneumo, fakes) -> None:
    (fakes / "model.onnx").write_bytes(b"onnx")
    done = pneumo("predict", "model.onnx", "x.png")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "pneumo: model.onnx: no plugin here reads it: pip install pneumo-export\n"


def test_doctor_shows_what_plugins_check_and_ends_with_1_where_something_is_wrong(install, pneumo) -> None:
    source = """
from pneumo_cli.api import HealthCheck, hookimpl
from pneumo_cli.errors import PneumoError
api_version = 1
@hookimpl
def health_checks():
    for name in {names}:
        yield HealthCheck(name=name, summary="A look", check=f"checking:{{name}}")
def mounted():
    return "the archive is mounted"
def license():
    raise PneumoError("the licence has run out: renew it")
def broken():
    return 1 / 0
"""
    install("pneumo-checking", {"checking": "checking"}, {"checking": source.format(names=["mounted"])})
    healthy = pneumo("doctor")
    assert healthy.code == 0
    assert "  mounted  the archive is mounted" in healthy.stdout
    module = {
        "checking_more": source.replace("checking:", "checking_more:").format(names=["license", "broken"])
    }
    install("pneumo-more", {"more": "checking_more"}, module)
    ill = pneumo("doctor")
    assert ill.code == 1
    assert "problem: the licence has run out: renew it (pneumo-more 1.0)" in ill.stdout
    assert "problem: ZeroDivisionError: division by zero (pneumo-more 1.0)" in ill.stdout
    assert "  mounted  the archive is mounted" in ill.stdout.replace("mounted  ", "mounted  ")
