"""``pneumo_cli.audit``: the findings and files of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pneumo_cli
from pneumo_cli.errors import UsageError
from pneumo_cli.testing import Invocation


def test_the_findings_are_those_of_the_command_and_no_exit_code_ends_the_program(
    pneumo: Callable[..., Invocation], fakes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = pneumo("data", "audit", "--dataset", "small", "--split", "source", "--json")
    assert ended.code == 1
    capfd.readouterr()
    result = pneumo_cli.audit("small", split="source", progress=False)
    assert tuple(capfd.readouterr()) == ("", "")
    assert json.loads(json.dumps(result.content)) == json.loads(ended.stdout)
    assert not result.clean
    assert result.findings == result.content["problems"]
    assert "leak found" in result.verdict or "leaks found" in result.verdict
    assert result.leaks[0]["patients"] > 10
    assert "train and validation" in result._repr_html_()
    assert [path.name for path in fakes.iterdir()] == [
        "audit"
    ]  # of the command: the function writes none unasked
    page = result.page("own")
    assert page.read_text() == (fakes / "audit" / "audit.html").read_text()
    assert (fakes / "own" / "audit.json").read_text() == (fakes / "audit" / "audit.json").read_text()


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"split": "sideways"}, ("--split", "sideways")),
        ({"validation_fraction": 1.5}, None),
        ({"out": "file"}, ("--out", "file")),
        ({"windw": 3}, None),
    ],
)
def test_misuse_is_an_error_of_one_line_and_nothing_is_written(
    pneumo: Callable[..., Invocation], fakes: Path, values: dict[str, Any], flags: tuple[str, ...] | None
) -> None:
    (fakes / "file").write_text("mine")
    with pytest.raises(UsageError) as raised:
        pneumo_cli.audit("tiny", progress=False, **values)
    assert "\n" not in str(raised.value)
    if flags:
        assert f"pneumo: {raised.value}\n" == pneumo("data", "audit", "--dataset", "tiny", *flags).stderr
    assert [path.name for path in fakes.iterdir()] == ["file"]
