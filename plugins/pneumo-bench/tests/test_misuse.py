"""Requests that cannot be met and hostile files: one line, exit code 2, nothing measured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_bench.result import BenchResult, read
from pneumo_cli import UsageError
from pneumo_cli.testing import Invocation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fkae", "unknown trainer 'fkae'; did you mean fake?"),
        ("fake --model tny-net", "unknown model 'tny-net'; did you mean"),
        ("fake --lr 99", "lr = '99' (--lr): input should be less than or equal to 10"),
        ("fake --seconds 0", "--seconds is 0: more than 0, at most 600"),
        ("fake --seconds nan", "--seconds is nan: more than 0, at most 600"),
        ("--seconds 1e9", "--seconds is 1e+09: more than 0, at most 600"),
        ("--seconds 1 fake", "--seconds goes behind the trainer: pneumo bench fake …"),
        ("fake --against absent.json", "there is no file absent.json"),
        ("fake --against .", ". is no file of results"),
        ("fake --output .", ". is no file: --output names one for the JSON"),
        ("fake --output notes.txt", "it would be overwritten: notes.txt is no JSON"),
        ("fake --output link", "it would be overwritten: link"),
        ("--images absent", "cannot open absent: No such file or directory"),
        ("--images .", ". holds no images"),
    ],
)
def test_it_is_refused(pneumo: Callable[..., Invocation], fakes: Path, arguments: str, message: str) -> None:
    (fakes / "notes.txt").write_text("my notes")
    (fakes / "link").symlink_to(fakes / "notes.txt")
    before = sorted(fakes.rglob("*"))
    ended = pneumo("bench", *arguments.split())
    assert ended.code == 2, ended.stderr
    assert message in ended.stderr
    said = [line for line in ended.stderr.splitlines() if not line.endswith(("decoding", "first step"))]
    assert len(said) == 1
    assert ended.stdout == ""
    assert sorted(fakes.rglob("*")) == before
    assert (fakes / "notes.txt").read_text() == "my notes"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"format": 1, "trainers": [], "x": NaN}', "is no JSON"),
        (b"[]", "holds no results"),
        (b'{"format": 1}', "holds no results"),
        (b'{"format": 1, "trainers": {}}', "holds no results"),
        (b'{"format": 2, "trainers": []}', "has the format 2, and this version reads 1"),
        (b" " * 4_000_001, "is larger than results"),
    ],
)
def test_a_file_that_is_no_result(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "before.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no file of results"):
        read(tmp_path / "pipe")


def test_what_is_no_number_in_an_earlier_result_is_left_out() -> None:
    now = {"format": 1, "trainers": [], "decoding": {"median": 3.0}, "copy": {"median": 1.0}}
    for value in (
        None,
        "fast",
        [],
        {"median": "\x1b[2J"},
        {"median": 0},
        {"median": True},
        {"median": 1e300},
        {"median": 1e-310},
    ):
        hostile = json.loads(json.dumps({"trainers": [value], "decoding": value, "copy": {"median": 2}}))
        compared = BenchResult(now).against(hostile).content["against"]["values"]
        assert compared == {"memory GB/s": {"before": 2, "now": 1.0, "ratio": 0.5}}


def test_an_earlier_result_of_other_work_is_said_to_be_one() -> None:
    row = {"trainer": "cnn", "image_size": 64, "threads": 1}
    now = {"format": 1, "machine": {"torch": "2.14"}, "trainers": [row]}
    old = {
        "machine": {"torch": "\x1b[2J"},
        "trainers": [{**row, "threads": [2]}, None, "cnn"],
        "date": "\x1b[2J",
    }
    against = BenchResult(now).against(json.loads(json.dumps(old))).content["against"]
    assert against["differs"] == [
        "torch: '\\x1b[2J' before, '2.14' now",
        "cnn threads: [2] before, 1 now",
    ]
    assert against["date"] == ""
    assert BenchResult(now).against(now).content["against"]["differs"] == []


def test_in_python_settings_belong_to_a_trainer(fakes: Path) -> None:
    with pytest.raises(UsageError, match="'lr'"):
        pneumo_cli.bench(lr=0.1)
    with pytest.raises(UsageError, match="those of a trainer"):
        pneumo_cli.bench(preset="quick")
    with pytest.raises(UsageError, match="images go without a trainer"):
        pneumo_cli.bench("fake", images=".")
    with pytest.raises(UsageError, match="devices = 2: bench measures one"):
        pneumo_cli.bench("fake", devices=2, image_size=32)
