"""Replacing a folder: whatever moment a process is killed at, the next one finds a whole folder, old or new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumo_export.replace_folder import recover, replaced_folder

# Writes a folder and kills itself before its n-th rename; "held" waits there for a line instead.
REPLACE = """
import os, signal, sys
from pathlib import Path
from pneumo_export.replace_folder import replaced_folder

target, number, act = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rename, left = Path.rename, [number]

def counted(path, to):
    left[0] -= 1
    if not left[0]:
        if act == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        print("held", flush=True)
        sys.stdin.readline()
    return rename(path, to)

Path.rename = counted
with replaced_folder(target) as folder:
    (folder / "what").write_text("new")
"""


def replace(target: Path, number: int, act: str = "killed") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", REPLACE, str(target), str(number), act],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder that is there, with a neighbour whose hidden name is much like what a killed process leaves."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "what").write_text("old")
    (tmp_path / ".bundle.notes.old").mkdir()
    return tmp_path / "bundle"


def hidden(target: Path) -> list[str]:
    return [path.name for path in target.parent.glob(".*") if path.name != ".bundle.notes.old"]


@pytest.mark.parametrize(
    ("number", "missing", "content"),
    [
        (1, False, "old"),  # the new folder is not finished
        (2, False, "old"),  # it is, and the old one is in its place
        (3, True, "new"),  # between the two
    ],
)
def test_a_killed_replacement_leaves_a_whole_folder_and_nothing_beside_it(
    target: Path, number: int, missing: bool, content: str
) -> None:
    with replace(target, number) as process:
        process.wait()
    assert hidden(target)
    assert target.exists() is not missing
    assert recover(target) is missing
    assert (target / "what").read_text() == content
    assert hidden(target) == []
    assert (target.parent / ".bundle.notes.old").is_dir()


def test_the_old_folder_comes_back_where_the_new_one_is_gone(target: Path) -> None:
    target.rename(target.with_name(".bundle.0123456789ab.old"))
    assert recover(target)
    assert (target / "what").read_text() == "old"


def test_another_process_that_is_at_it_is_left_alone(target: Path) -> None:
    with replace(target, 3, "held") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not recover(target)
        assert not target.exists()
        process.communicate("go on\n")
    assert process.returncode == 0
    assert (target / "what").read_text() == "new"
    assert hidden(target) == []


def test_an_error_or_an_interruption_leaves_the_old_folder_in_its_place(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError), replaced_folder(target):
        raise RuntimeError
    rename = Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        if path.suffix == ".new":
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replaced_folder(target):
        pass
    assert (target / "what").read_text() == "old"
    assert hidden(target) == []


def test_a_folder_that_nobody_replaces_is_not_touched(target: Path) -> None:
    assert not recover(target)
    assert not recover(target.parent / "elsewhere" / "bundle")
    assert (target / "what").read_text() == "old"


def test_export_puts_a_bundle_back_that_a_killed_one_left_aside(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pneumo_cli.errors import UsageError
    from pneumo_export.export import check_target

    with replace(target, 3) as process:
        process.wait()
    caplog.set_level(20, "pneumo")
    with pytest.raises(UsageError, match="exists"):
        check_target(target, "bundle", overwrite=False)
    assert (target / "what").read_text() == "new"
    assert "is there again" in caplog.text
