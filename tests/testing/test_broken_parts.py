"""Extensions, observers, commands, decoders and the like that break a rule each are told which."""

from __future__ import annotations

import inspect
import struct
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import (
    CommandConformance,
    ContractBroken,
    DecoderConformance,
    ExtensionConformance,
    ExtractorConformance,
    ObserverConformance,
    SamplerConformance,
    SplitConformance,
    installed_plugins,
)
from pneumo_cli.testing.run_suite import train
from pneumo_cli.testing.runs import Small
from pneumo_cli.testing.transfer import PROBE

PLUGIN = """
import typer
from pneumo_cli.api import *
from pneumo_cli.api import hookimpl

api_version = 1

@hookimpl
def register_extensions():
    yield ExtensionSpec(name="broken-extension", summary="Breaks", factory="broken_parts:Part")

@hookimpl
def register_observers():
    yield ObserverSpec(name="broken-observer", summary="Breaks", factory="broken_parts:Part")

@hookimpl
def register_splits():
    yield SplitSpec(name="broken-split", summary="Breaks", split="broken_parts:split")

@hookimpl
def register_samplers():
    yield SamplerSpec(name="broken-sampler", summary="Breaks", sample="broken_parts:sample")

@hookimpl
def register_extractors():
    yield ExtractorSpec(name="broken-extractor", summary="Breaks", factory="broken_parts:extractor")

@hookimpl
def register_decoders():
    yield DecoderSpec(name="broken-decoder", summary="Breaks", suffixes=(".brk",), magic=(((0, b"BRK1"),),),
                      decode="broken_parts:decode")

@hookimpl
def register_commands(app):
    import broken_parts
    app.command("broken-command")(broken_parts.command)
"""
PARTS = """
import numpy as np
import torch
import typer
from typing import Annotated
from pneumo_cli.api import hookimpl

class Part:
    def __init__(self, settings):
        pass

    @hookimpl
    def epoch_finished(self, run):
        pass

def split(records, fraction, seed):
    places = [i for i, record in enumerate(records) if record.pool == "train"]
    return places[::2], places[1::2]

def sample(positions, records, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(positions)

def extractor(device):
    return lambda images: images.flatten(1).float()

def decode(data, max_pixels):
    side = data[4]
    if side * side > max_pixels or len(data) != 5 + side * side:
        from pneumo_cli import UnreadableImage
        raise UnreadableImage("damaged")
    return np.frombuffer(data, np.uint8, offset=5).reshape(side, side)

def command(number: Annotated[int, typer.Option(help="A number.")] = 1):
    "Print a number."
    print(number)
"""
FILE = b"BRK1" + struct.pack("B", 8) + bytes(range(64))


@pytest.fixture
def broken(install: Any) -> Any:
    """Install parts that break no rule, and after them code that replaces one."""

    def write(code: str = "") -> Any:
        install(
            "pneumo-broken",
            {"broken": "broken_plugin"},
            {"broken_plugin": PLUGIN, "broken_parts": PARTS + code},
        )
        return installed_plugins()

    return write


def run_check(plugins: Any, suite: Any, kind: str, test: str, folder: Path, **given: Any) -> None:
    """Call one test of a suite, as pytest does."""
    made = type("Suite", (suite,), {"name": f"broken-{kind}"})()
    registry = getattr(plugins, f"{kind}s", None)
    entry = registry.get(made.name) if registry is not None else None
    flags = {"image_size": 32, "batch_size": 16, "dataset": "conformance-tiny"}
    values = {**flags, "with": [made.name]}
    small = Small(plugins, plugins.trainers.get(PROBE.name), values, folder)
    given = {"plugins": plugins, "entry": entry, "small": small, **given}
    method = getattr(made, test)
    if "trained" in inspect.signature(method).parameters:
        given["trained"] = train(plugins, small)
    method(**{name: given[name] for name in inspect.signature(method).parameters})


MISSPELT = """
class Part:
    def __init__(self, settings): pass
    @hookimpl
    def epoch_finnished(self, run): pass
"""
ONE_FOR_ALL = """
class Once:
    @hookimpl
    def epoch_finished(self, run): pass
once = Once()
def Part(settings):
    return once
"""
FORGETS = """
class Part:
    def __init__(self, settings):
        self.steps = 0
    @hookimpl
    def around_optimize(self, run):
        def less(optimize, loss, name):
            self.steps += 1
            optimize(loss / self.steps, name)
        return less
"""
RAISES = """
class Part:
    def __init__(self, settings): pass
    @hookimpl
    def epoch_finished(self, run):
        raise OSError("the server is down")
"""
CHANGES = """
class Part:
    def __init__(self, settings): pass
    @hookimpl
    def epoch_started(self, run):
        for parameter in run.model.parameters():
            parameter.data.mul_(1.5)
"""
WRAPS = """
class Part:
    def __init__(self, settings): pass
    @hookimpl(wrapper=True)
    def train_step(self, run, batch):
        return (yield)
"""
FACTORY = "test_its_factory_makes_an_object_with_hooks"
RESUMES = "test_a_run_that_dies_resumes_to_the_same_bits_and_ends_with_a_report"
FOLLOWS = "test_it_follows_a_run_to_its_report_without_an_error"
SAME = "test_a_run_is_the_same_with_and_without_it"
DIVIDES = "test_it_divides_the_training_pool"
CHOOSES = "test_it_chooses_among_the_training_images"
FEATURES = "test_features_are_finite_and_depend_on_their_image_alone"


@pytest.mark.parametrize(
    ("suite", "kind", "code", "test", "said"),
    [
        (ExtensionConformance, "extension", "Once = Part\ndef Part(settings):\n    return Once", FACTORY, "class"),
        (ExtensionConformance, "extension", MISSPELT, FACTORY, "epoch_finnished.*spell"),
        (ExtensionConformance, "extension", ONE_FOR_ALL, FACTORY, "an object of its own"),
        (ExtensionConformance, "extension", FORGETS, RESUMES, "same bits.*state_dict"),
        (ObserverConformance, "observer", WRAPS, FACTORY, "an observer cannot change a run"),
        (ObserverConformance, "observer", CHANGES, SAME, "changes nothing"),
        (SplitConformance, "split", "def split(records, f, s): return range(60), []", DIVIDES, "division|pool"),
        (SamplerConformance, "sampler", "def sample(p, r, s, e): return p[:e]", CHOOSES, "as many in every epoch"),
        (ExtractorConformance, "extractor", "def extractor(d): return lambda x: x", FEATURES, "float32 features"),
    ],
)  # fmt: skip
def test_a_part_that_breaks_a_rule_is_told_which(
    suite: Any, kind: str, code: str, test: str, said: str, broken: Any, tmp_path: Path
) -> None:
    with pytest.raises(ContractBroken, match=said):
        run_check(broken(code), suite, kind, test, tmp_path / "suite")


def test_an_observer_that_raises_is_found_where_a_run_would_go_on_without_it(
    broken: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ContractBroken, match=r"raises in no hook.*the server is down"):
        run_check(broken(RAISES), ObserverConformance, "observer", FOLLOWS, tmp_path / "suite", caplog=caplog)


def test_the_parts_that_break_no_rule_pass(
    broken: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = broken()
    for suite, kind, test in (
        (ExtensionConformance, "extension", FACTORY),
        (ObserverConformance, "observer", SAME),
        (SplitConformance, "split", DIVIDES),
        (SamplerConformance, "sampler", CHOOSES),
        (ExtractorConformance, "extractor", FEATURES),
    ):
        run_check(plugins, suite, kind, test, tmp_path / kind, caplog=caplog)


# --- decoders and commands ---------------------------------------------------------------------------------------

FLOATS = "def decode(data, max_pixels): return np.ones((4, 4))"
HUGE = "def decode(data, max_pixels): return np.ones((4, 4), np.uint8)"
BY_CHANCE = "def decode(data, max_pixels): return np.random.default_rng().integers(0, 256, (9, 9), np.uint8)"
EMPTY = "def decode(data, max_pixels): return np.zeros((0, 3), np.uint8)"


@pytest.mark.parametrize(
    ("code", "test", "said"),
    [
        ("", "", ""),
        (FLOATS, "test_an_image_is_uint8_gray_levels_and_the_same_each_time", "float64"),
        (BY_CHANCE, "test_an_image_is_uint8_gray_levels_and_the_same_each_time", "the same each time"),
        (HUGE, "test_large_images_are_refused_before_they_are_decoded", "max_pixels"),
        (EMPTY, "test_damaged_files_are_unreadable", "damaged file"),
    ],
)
def test_a_decoder_that_breaks_a_rule_is_told_which(code: str, test: str, said: str, broken: Any) -> None:
    plugins = broken(code)
    made: Any = type("Suite", (DecoderConformance,), {"name": "broken-decoder"})()
    entry = next(one for one in (_decoder(plugins),) if one.spec.name == "broken-decoder")
    tests = (
        [test]
        if test
        else [name for name in dir(made) if name.startswith("test_") and "files" in _parameters(made, name)]
    )
    for name in tests:
        if not said:
            getattr(made, name)(entry, {"file": FILE})
            continue
        with pytest.raises(ContractBroken, match=said):
            getattr(made, name)(entry, {"file": FILE})


def _parameters(made: Any, name: str) -> set[str]:
    return set(inspect.signature(getattr(made, name)).parameters)


def _decoder(plugins: Any) -> Any:
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import DecoderSpec

    ((spec, plugin),) = [
        pair for pair in plugins.collect("register_decoders", DecoderSpec) if pair[0].name == "broken-decoder"
    ]
    return Entry(spec, plugin.provenance)


NO_HELP = "def command(number: int = 1): print(number)"
NO_JSON = """
def command(json: Annotated[bool, typer.Option("--json", help="JSON.")] = False):
    "Print."
    print("one")
"""
FAILS = "def command():\n    'Fails.'\n    raise ValueError('no')"
ENDS = "test_it_ends_with_its_results_on_stdout"


@pytest.mark.parametrize(
    ("code", "arguments", "test", "said"),
    [
        ("", ("--number", "2"), "test_it_ends_with_its_results_on_stdout", ""),
        (NO_HELP, None, "test_it_and_its_options_are_explained", "has no help|has none"),
        (NO_JSON, ("--json",), "test_it_ends_with_its_results_on_stdout", "JSON alone on stdout"),
        (FAILS, (), ENDS, "no"),
    ],
)  # fmt: skip
def test_a_command_that_breaks_a_rule_is_told_which(
    code: str,
    arguments: Any,
    test: str,
    said: str,
    broken: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import typer

    from pneumo_cli.cli.main import build_app

    plugins = broken(code)
    suite: Any = type("Suite", (CommandConformance,), {"name": "broken-command", "arguments": arguments})
    commands: Any = typer.main.get_command(build_app(plugins))
    listed = commands.get_command(typer.Context(commands), "broken-command")
    command = listed.make_context("pneumo", [], resilient_parsing=True).command
    given = {"plugins": plugins, "command": command, "tmp_path": tmp_path, "monkeypatch": monkeypatch}
    method = getattr(suite(), test)
    values = {name: given[name] for name in inspect.signature(method).parameters}
    if said:
        with pytest.raises(ContractBroken, match=said):
            method(**values)
    else:
        method(**values)
