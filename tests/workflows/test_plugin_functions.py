"""Functions that plugins add to ``import pneumo_cli``: found by name, and named when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli.api import FunctionSpec
from pneumo_cli.errors import PneumoError
from pneumo_cli.installation import bundled_in
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.testing import Invocation

Install = Callable[..., None]

PLUGIN = """
from pneumo_cli.api import FunctionSpec, hookimpl

api_version = 1

@hookimpl
def register_functions():
    for name in {names}:
        yield FunctionSpec(name=name, summary="Counts", function="{module}:" + name)

def count_runs(folder, *, more=0):
    "Count runs."
    return len(folder) + more

def leaves(code):
    raise SystemExit(code)

def fails():
    raise KeyError("no\\nluck")
"""


def plugin(install: Install, name: str, *names: str) -> None:
    module = f"{name}_module"
    install(f"pneumo-{name}", {name: module}, {module: PLUGIN.format(names=names, module=module)})


def test_a_function_of_a_plugin_is_found_by_its_name_and_documented(install: Install) -> None:
    plugin(install, "counting", "count_runs")
    assert pneumo_cli.count_runs("abc", more=1) == 4
    assert pneumo_cli.count_runs.__doc__ == "Count runs."
    assert pneumo_cli.count_runs is pneumo_cli.count_runs
    assert {"count_runs", "run", "register"} <= set(dir(pneumo_cli))


def test_whatever_it_raises_is_an_error_of_one_line_and_never_an_exit(install: Install) -> None:
    plugin(install, "failing", "leaves", "fails")
    with pytest.raises(PneumoError, match=r"SystemExit\(3\)"):
        pneumo_cli.leaves(3)
    with pytest.raises(PneumoError, match=r"^KeyError: 'no.*luck'$"):
        pneumo_cli.fails()


def test_a_function_that_is_not_installed_names_its_distribution(fakes: Path) -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'compare': it comes with pneumo-compare, which .*disables"
    ):
        _ = pneumo_cli.compare
    with pytest.raises(AttributeError, match="no attribute 'rnu'; did you mean run"):
        _ = pneumo_cli.rnu


def test_the_distribution_of_each_bundled_function_is_known_where_it_is_not_installed() -> None:
    plugins = discover(disabled="")
    found = {entry.spec.name: entry.provenance.distribution for entry in plugins.functions.entries()}
    assert found == {
        "audit": "pneumo-audit",
        "bench": "pneumo-bench",
        "compare": "pneumo-compare",
        "evaluate_images": "pneumo-synthetic",
        "export": "pneumo-export",
        "generate": "pneumo-synthetic",
        "reproduce": "pneumo-reproduce",
        "resume_sweep": "pneumo-sweep",
        "sweep": "pneumo-sweep",
        "tstr": "pneumo-synthetic",
    }
    assert {name: bundled_in("function", name) for name in found} == found


def test_a_function_of_this_program_may_be_registered_and_changed(fakes: Path) -> None:
    for number in (1, 2):

        def counted(number: int = number) -> int:
            return number

        sys.modules[__name__].counted = counted  # type: ignore[attr-defined]
        spec = FunctionSpec(name="counted", summary="Counts", function=f"{__name__}:counted")
        pneumo_cli.register(spec)
        assert pneumo_cli.counted() == number


def test_a_reference_that_leads_nowhere_is_named_and_found_by_doctor(
    install: Install, pneumo: Callable[..., Invocation]
) -> None:
    plugin(install, "broken", "missing")
    with pytest.raises(
        AttributeError, match=r"the function missing \(pneumo-broken 1.0\) cannot be imported from bro"
    ):
        _ = pneumo_cli.missing
    assert not hasattr(pneumo_cli, "missing")
    ended = pneumo("doctor", "--json")
    assert "function missing, function" in json.loads(ended.stdout)["references"]


def test_a_name_that_two_plugins_or_pneumo_itself_have_is_a_problem(
    install: Install, pneumo: Callable[..., Invocation]
) -> None:
    plugin(install, "one", "count_runs", "run", "data")
    plugin(install, "two", "count_runs")
    problems = [one["error"] for one in json.loads(pneumo("list-plugins", "--json").stdout)["problems"]]
    assert problems == [
        "the function 'data' has a name that pneumo_cli uses itself, so it is left out",
        "the function 'run' has a name that pneumo_cli uses itself, so it is left out",
        "the function 'count_runs' is registered by pneumo-one 1.0 and pneumo-two 1.0; pneumo_cli.count_runs is "
        "that of pneumo-one 1.0",
    ]
    assert pneumo_cli.count_runs.__module__ == "one_module"
    assert pneumo_cli.run.__module__ == "pneumo_cli.workflows.functions"
    assert pneumo_cli.data.__name__ == "pneumo_cli.data"


def test_a_plugin_that_asks_while_it_is_loaded_gets_an_answer_and_no_deadlock(install: Install) -> None:
    source = (
        PLUGIN.format(names=("count_runs",), module="asking")
        + """
import pneumo_cli
assert not hasattr(pneumo_cli, "count_runs")
assert "run" in dir(pneumo_cli)
try:
    pneumo_cli.models()
except pneumo_cli.PneumoError as error:
    answer = str(error)
"""
    )
    install("pneumo-asking", {"asking": "asking"}, {"asking": source})
    assert pneumo_cli.count_runs("") == 0
    assert "plugins are still being loaded" in sys.modules["asking"].answer


def test_modules_and_private_names_are_looked_up_without_loading_plugins() -> None:
    code = (
        "import sys, pneumo_cli\n"
        "from pneumo_cli import training, data\n"
        "assert not hasattr(pneumo_cli, '_repr_html_')\n"
        "assert 'pneumo_cli.plugins.discovery' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
