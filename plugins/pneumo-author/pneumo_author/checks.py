"""Runs the conformance suites of parts with pytest in this process, and collects what each check found."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from unittest import mock

import pytest

from pneumo_author.parts import Part
from pneumo_author.suites import suites_of
from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.testing import ContractBroken

Outcome = Literal["ok", "broken", "skipped"]


@dataclass(frozen=True)
class Result:
    """What one check found.

    Attributes:
        part: what was checked: ``trainer probe``.
        check: its title, a sentence.
        rule, broken, mend: of a check that failed: the rule of the contract, how it was broken, how to mend it.
        reason: why it was left out.
        trace: the traceback of an error that is no broken rule.
    """

    part: str
    check: str
    outcome: Outcome
    rule: str = ""
    broken: str = ""
    mend: str = ""
    reason: str = ""
    trace: str = ""

    def plain(self) -> dict[str, str]:
        """As JSON: what is not empty, without the traceback."""
        return {name: value for name, value in asdict(self).items() if value and name != "trace"}


def run_checks(
    plugins: Plugins,
    parts: Sequence[Part],
    dataset: str,
    data_root: Path | None,
    told: Callable[[Result], None],
) -> list[Result]:
    """Check parts one after the other.

    Args:
        dataset, data_root: see :func:`pneumo_author.suites.suites_of`.
        told: called with each result as it is there.

    Raises:
        PneumoError: pytest did not run.
    """
    collected = _Collected(suites_of(plugins, parts, dataset, data_root), list(map(str, parts)), told)
    with tempfile.TemporaryDirectory(prefix="pneumo-check-") as folder, _quiet() as output:
        code = pytest.main(
            [
                str(Path(__file__).with_name("suites.py")),
                f"--rootdir={folder}",
                f"--basetemp={folder}/tests",
                *("-c", os.devnull, "--noconftest", "-p", "no:cacheprovider", "-W", "ignore"),
            ],
            plugins=[collected],
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise PneumoError(
            f"the checks did not run: pytest ended with {code!r}: {output.getvalue()[-500:].strip()}"
        )
    return collected.results


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Without pytest's own output, and without the plugins and options of the user's."""
    output = io.StringIO()
    others = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
    with mock.patch.dict(os.environ, others), contextlib.redirect_stdout(output):
        yield output


class _Collected:
    """A pytest plugin: gives pytest the classes to collect, and hears of each test."""

    def __init__(self, module: ModuleType, titles: Sequence[str], told: Callable[[Result], None]) -> None:
        self.results: list[Result] = []
        self._module, self._titles, self._told = module, titles, told

    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> Any:
        module = pytest.Module.from_parent(parent, path=module_path)
        module.obj = self._module
        return module

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, Any]:
        report = yield
        if report.outcome == "passed" and report.when != "call":
            return report
        part = self._titles[int(item.parent.name.removeprefix("Test"))]
        check = re.sub(r"^test_", "", item.name).replace("_", " ")
        result = Result(part, check, "ok")
        if report.outcome == "skipped":
            result = Result(part, check, "skipped", reason=str(call.excinfo.value))
        elif report.outcome == "failed":
            result = _broken(part, check, call.excinfo.value, report.longreprtext)
        self.results.append(result)
        self._told(result)
        return report


def _broken(part: str, check: str, error: BaseException, trace: str) -> Result:
    if isinstance(error, ContractBroken):
        return Result(part, check, "broken", rule=error.rule, broken=error.broken, mend=error.mend)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    mend = "see where it was raised: PNEUMO_DEBUG=1 shows the traceback"
    return Result(part, check, "broken", rule=check, broken=text[:500], mend=mend, trace=trace)
