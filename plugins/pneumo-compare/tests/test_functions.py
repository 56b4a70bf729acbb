"""``pneumo_cli.compare``: what the command prints and writes, as Python values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli.errors import UsageError
from pneumo_cli.testing import Invocation


def test_the_numbers_are_those_of_the_command_to_the_last_digit(
    pneumo: Callable[..., Invocation], write_run: Callable[..., Path], a: Path, b: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    c = write_run(tmp_path / "fake" / "c", 3, better=0.8)
    result = pneumo_cli.compare(a, str(b), c, baseline=b, split="validation")
    assert capfd.readouterr().out == ""
    printed = pneumo("compare", a, b, c, "--baseline", b, "--split", "validation", "--json").stdout
    assert json.loads(json.dumps(result.content)) == json.loads(printed)
    for pair in json.loads(printed)["differences"]:
        for row in result.differences:
            if row["run"] == pair["run"]:
                tested = pair["metrics"][row["metric"]]
                assert (row["difference"], row["p"], row["p_adjusted"]) == (
                    tested["value"], tested["p"], tested["p_adjusted"],
                )  # fmt: skip
                assert (row["low"], row["high"], row["result"]) == (
                    tested["low"], tested["high"], tested["verdict"],
                )  # fmt: skip
    assert {row["run"] for row in result.differences} == {"A", "C"}
    (auc,) = [row for row in result.metrics if row["metric"] == "auc"]
    recorded = json.loads((c / "report.json").read_text())["evaluations"]["validation"]["auc"]
    assert auc["C"] == recorded
    assert result.sentences == [pair["verdict"] for pair in json.loads(printed)["differences"]]
    assert result.runs["letter"] == ["A", "B", "C"]


def test_it_shows_itself_and_writes_its_page_once(a: Path, b: Path, tmp_path: Path) -> None:
    result = pneumo_cli.compare(a, b, out=tmp_path / "page.html")
    assert result.written == tmp_path / "page.html"
    assert "no significant difference" in result._repr_html_()
    assert "page.html" in repr(result)
    with pytest.raises(UsageError, match="exists already"):
        result.page(tmp_path / "page.html")
    assert result.page(tmp_path / "folder").is_file()


def test_what_is_refused_has_the_message_of_the_command(pneumo: Callable[..., Invocation], a: Path) -> None:
    for arguments, flags in (((a,), (a,)), ((a, a / "nowhere"), (a, a / "nowhere"))):
        with pytest.raises(UsageError) as raised:
            pneumo_cli.compare(*arguments)
        assert f"pneumo: {raised.value}\n" == pneumo("compare", *flags).stderr
