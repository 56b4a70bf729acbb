"""Objects that a program gives to ``pneumo.run``, or registers: they follow runs, and cannot change or end them."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest

from pneumo_cli import UsageError

SHORT = {"epochs": 1, "report": False, "precision": "fp32", "progress": False}


class Plain:
    """Follows a run without any decorator."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.folder = ""

    @property
    def last(self) -> int:  # fails until there is one
        return self.epochs[-1]

    @staticmethod
    def epoch_started() -> None: ...

    def epoch_finished(self, run: Any, metrics: dict[str, Any]) -> None:
        self.epochs.append(metrics["epoch"])

    def run_finished(self, run: Any) -> None:
        self.folder = run.folder.path.name


class Raising(Plain):
    def epoch_started(self) -> None:  # type: ignore[override]
        raise KeyError("of the observer")


class Stopping(Plain):
    def epoch_finished(self, run: Any, metrics: dict[str, Any]) -> None:
        run.stop("enough")


class Evaluating(Plain):
    def __init__(self, library: ModuleType) -> None:
        super().__init__()
        self.library = library

    def run_finished(self, run: Any) -> None:
        self.result = self.library.evaluate(run.folder.path, on="validation", progress=False)


def test_plain_methods_follow_a_run_and_do_not_change_or_end_it(
    library: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    plain, evaluating, functions = Plain(), Evaluating(library), Plain()
    functions.epoch_finished = lambda metrics: functions.epochs.append(-1)  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "pneumo"):
        result = library.run("fake", observers=[Raising(), Stopping(), plain, evaluating, functions], **SHORT)
    alone = library.run("fake", **SHORT)
    assert (plain.epochs, plain.folder, functions.epochs) == ([0, 1], result.folder.name, [-1, -1])
    assert result.metrics == alone.metrics
    assert evaluating.result.metrics == result.metrics["validation"]
    warnings = [record.getMessage() for record in caplog.records]
    assert sum("Raising" in one and "KeyError" in one for one in warnings) == 1
    assert sum("Stopping" in one and "an observer cannot stop a run" in one for one in warnings) == 1


def test_a_registered_class_or_object_with_plain_methods_follows_all_runs(library: ModuleType) -> None:
    seen: list[str] = []

    @library.register
    class Noting:
        def run_started(self, run: Any) -> None:
            seen.append("class")

    class Counting:
        def __init__(self, start: str) -> None:
            self.start = start

        def run_started(self) -> None:
            seen.append(self.start)

    with pytest.raises(
        UsageError, match=r"Counting\(\) failed: .* register an object of the class: Counting"
    ):
        library.register(Counting)
    library.register(Counting("first"))
    library.register(Counting("object"))  # the cell is carried out again
    library.run("fake", **SHORT)
    assert sorted(seen) == ["class", "object"]


def test_a_misspelled_method_of_a_registered_object_is_refused(library: ModuleType) -> None:
    class Odd:
        def run_finish(self) -> None: ...

        def run_started(self) -> None: ...

    with pytest.raises(
        UsageError, match="the plugin odd: its method run_finish is not called: did you mean run_f"
    ):
        library.register(Odd())
