"""``pneumo_cli.export``: the files of the command, and its checks as values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli.errors import UsageError
from pneumo_cli.testing import Invocation


def test_the_file_and_its_checks_are_those_of_the_command(
    pneumo: Callable[..., Invocation], run: Path, traced: None, images: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    of_command, own = tmp_path / "command.onnx", tmp_path / "own.onnx"
    printed = pneumo("export", run, "--format", "onnx", "--out", of_command, "--check-on", images, "--json")
    result = pneumo_cli.export(run, own, format="onnx", check_on=images, progress=False)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert own.read_bytes() == of_command.read_bytes()
    assert result.checks == json.loads(printed.stdout)["checks"]
    assert result.checks[0]["images"] > 16
    assert (result.path, Path(result), result.compared) == (own, own, "logits")


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"format": "onx"}, ("--format", "onx")),
        ({"checkpoint": "first"}, ("--checkpoint", "first")),
        ({"operating_point": "sreening"}, ("--operating-point", "sreening")),
    ],
)
def test_what_is_refused_has_the_message_of_the_command(
    pneumo: Callable[..., Invocation], run: Path, values: dict[str, str], flags: tuple[str, str]
) -> None:
    with pytest.raises(UsageError) as raised:
        pneumo_cli.export(run, progress=False, **values)
    assert f"pneumo: {raised.value}\n" == pneumo("export", run, *flags).stderr
