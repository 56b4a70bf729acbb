"""How to repeat a run: the command as it was typed, the commit, the model's layers and parameters."""

from __future__ import annotations

from typing import Any

import pytest

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Block, Commands, Paragraph, Table
from pneumo_cli.reports.formatting import command_text

ROWS = [
    {"name": "Conv2d-1", "shape": [64, 256, 256], "parameters": 1792},
    {"name": "Linear-2", "shape": [1], "parameters": 513},
]


def section(report: dict[str, Any], anchor: str) -> tuple[Block, ...]:
    return next((part.blocks for part in document(report).sections if part.anchor == anchor), ())


def words(blocks: tuple[Block, ...]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        (["/opt/bin/pneumo", "run", "gan", "--preset", "quick"], "pneumo run gan --preset quick"),
        (["/x/pneumo_cli/__main__.py", "run", "gan"], "python -m pneumo_cli run gan"),
        (["pneumo", "run", "cnn", "--data-root", "a b; rm"], "pneumo run cnn --data-root 'a b; rm'"),
        (["pneumo", "run", "x", "# in Python, with an object"], "pneumo run x # in Python, with an object"),
        ([], ""),
    ],
)
def test_the_command_is_ready_to_copy(command: list[str], typed: str) -> None:
    assert command_text(command) == typed


def test_command_and_commit_are_shown_where_a_run_is_repeated(report: dict[str, Any]) -> None:
    report["environment"] |= {
        "command": ["/bin/pneumo", "run", "cnn"],
        "git": {"commit": "0f" * 20},
    }
    blocks = section(report, "reproduce")
    assert next(block for block in blocks if isinstance(block, Commands)).lines == ("pneumo run cnn",)
    assert f"at commit {'0f' * 20}, or with changes to it." in words(blocks)
    (versions,) = section(report, "environment")
    assert isinstance(versions, Table)
    assert not any(row[0].startswith(("command", "git")) for row in versions.rows)
    report["environment"]["git"] = {}
    assert "commit" not in words(section(report, "reproduce"))


def test_layers_and_the_exact_numbers_of_parameters_are_listed(report: dict[str, Any]) -> None:
    report["model"] |= {"parameters": 63_789_521, "trainable": 2_561}
    report["model"]["layers"] = {
        "rows": ROWS,
        "calls": 1200,
        "input_shape": [3, 256, 256],
        "total_mb": 392.65,
    }
    counts, table = section(report, "layers")
    assert isinstance(counts, Paragraph)
    assert counts.text == "cnn has 63,789,521 parameters: 2,561 trainable and 63,786,960 frozen."
    assert isinstance(table, Table)
    assert table.rows == (("Conv2d-1", "64 × 256 × 256", "1,792"), ("Linear-2", "1", "513"))
    assert "one input of 3 × 256 × 256; estimated memory 393 MB" in table.note
    assert "The first 2 of 1,200 calls" in table.note
    assert "2,561 trainable and 63,786,960 frozen parameters" in document(report).summary


def test_a_model_that_cannot_be_traced_and_an_old_report_still_say_their_parameters(
    report: dict[str, Any],
) -> None:
    (counts,) = section(report, "layers")
    assert isinstance(counts, Paragraph)
    report["model"]["layers"] = {"rows": [], "lacking": "it needs data"}
    assert "There is no table of layers: it needs data." in words(section(report, "layers"))
    report["model"] = None
    assert section(report, "layers") == ()
