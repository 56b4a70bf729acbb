"""Checkpoint files: written atomically, matched by the manifest at every moment, and free of code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runs.checkpoints import Checkpoints, check_plain
from pneumo_cli.runtime import atomic


class PowerFailure(BaseException):
    """The process ends at once."""


def state(value: float) -> dict[str, object]:
    return {"model": {"weight": torch.full((3,), value)}, "epoch": int(value), "rows": [{"loss": value}]}


def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "not" / "there")
    path = checkpoints.save("last", state(1))
    loaded = checkpoints.load("last")
    assert path == checkpoints.path("last")
    assert torch.equal(loaded["model"]["weight"], torch.ones(3))
    assert (loaded["epoch"], loaded["rows"]) == (1, [{"loss": 1.0}])


@pytest.mark.parametrize("moment", ["before the manifest", "after the manifest", "while the file is written"])
def test_a_crash_while_saving_leaves_the_previous_checkpoint(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", state(1))
    real_replace, real_save = atomic.os.replace, torch.save

    def fail(*_: object, **__: object) -> None:
        raise PowerFailure

    def replace(source: Path, target: Path) -> None:
        if (Path(target).name == "last.pt") == (moment == "after the manifest"):
            raise PowerFailure
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", replace)
        if moment == "while the file is written":
            patch.setattr(torch, "save", lambda content, file: (file.write(b"half"), fail()))
        with pytest.raises(PowerFailure):
            checkpoints.save("last", state(2))
    assert torch.save is real_save
    manifest = json.loads((tmp_path / "manifest.json").read_text())["last.pt"]
    assert bool(manifest["previous"]) == (moment == "after the manifest")
    assert Checkpoints(tmp_path).load("last")["epoch"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "manifest.json"]
    checkpoints.save("last", state(3))
    assert checkpoints.load("last")["epoch"] == 3


def test_two_crashes_in_a_row_after_the_manifest_leave_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", state(1))
    real_replace = atomic.os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "last.pt":
            raise PowerFailure
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", replace)
        for value in (2, 3):
            with pytest.raises(PowerFailure):
                checkpoints.save("last", state(value))
    assert checkpoints.load("last")["epoch"] == 1


def test_a_file_that_another_program_has_replaced_is_not_taken_for_the_previous_checkpoint(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path)

    def recorded() -> dict[str, str]:
        return dict(json.loads((tmp_path / "manifest.json").read_text())["last.pt"])

    path = checkpoints.save("last", state(1))
    first = recorded()["sha256"]
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoints.save("last", state(2))
    assert recorded()["previous"] == first
    path.write_bytes(bytes(path.stat().st_size))
    checkpoints.save("last", state(3))
    assert recorded()["previous"] == ""


def test_best_and_last_do_not_touch_each_other(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state(1))
    checkpoints.save("last", state(2))
    checkpoints.save("last", state(3))
    assert checkpoints.load("best")["epoch"] == 1
    assert checkpoints.load("last")["epoch"] == 3


def test_a_missing_checkpoint_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no checkpoint .*best\.pt"):
        Checkpoints(tmp_path).load("best")


@pytest.mark.parametrize(
    "manifest", [None, "", "[]", "{}", "not json", '{"last.pt": 1}', '{"last.pt": {"sha']
)
def test_a_checkpoint_without_its_digest_is_refused_and_the_error_names_the_manifest(
    manifest: str | None, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", state(1))
    if manifest is None:
        (tmp_path / "manifest.json").unlink()
    else:
        (tmp_path / "manifest.json").write_text(manifest)
    problem = "is missing" if manifest is None else "is damaged or has no entry for it"
    with pytest.raises(PneumoError, match=rf"last\.pt cannot be verified: .*manifest\.json {problem}"):
        checkpoints.load("last")
    checkpoints.save("last", state(2))
    data = checkpoints.path("last").read_bytes()
    checkpoints.path("last").write_bytes(data[:-1])
    with pytest.raises(PneumoError, match=r"last\.pt is damaged: it does not match manifest\.json"):
        checkpoints.load("last")


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("pneumo_cli.runs.checkpoints.FORMAT", 99)
        checkpoints.save("last", state(1))
    with pytest.raises(UsageError, match="another version"):
        checkpoints.load("last")


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"a": {"b": [1, object()]}}, r"state\['a'\]\['b'\]\[1\] is a object"),
        ({"a": lambda: None}, r"state\['a'\] is a function"),
        ({("a",): 1}, "the key"),
        ({"a": {1, 2}}, r"state\['a'\] is a set"),
    ],
)
def test_what_could_not_be_loaded_safely_is_refused_when_it_is_saved(
    bad: dict, where: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=where):
        check_plain(bad)
    with pytest.raises(TypeError):
        Checkpoints(tmp_path).save("last", bad)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in its place")
    with pytest.raises(PneumoError, match=r"cannot be written \(.*\); the previous one is intact"):
        Checkpoints(tmp_path / "checkpoints").save("last", state(1))
