"""Atomic folder replacement: whenever a process is killed, the next one finds a complete folder, old or new."""

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
    """An existing folder; next to it a hidden one, similarly named to what a killed process leaves."""
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
        (2, False, "old"),  # it is, and the old one has its name
        (3, True, "new"),  # between the two
    ],
)
def test_a_killed_replacement_leaves_a_complete_folder_and_nothing_else(
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


def test_the_old_folder_gets_its_name_back_if_the_new_one_is_missing(target: Path) -> None:
    target.rename(target.with_name(".bundle.0123456789ab.old"))
    assert recover(target)
    assert (target / "what").read_text() == "old"


def test_a_replacement_by_a_running_process_is_left_alone(target: Path) -> None:
    with replace(target, 3, "held") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not recover(target)
        assert not target.exists()
        process.communicate("go on\n")
    assert process.returncode == 0
    assert (target / "what").read_text() == "new"
    assert hidden(target) == []


def test_an_error_or_an_interruption_leaves_the_old_folder_unchanged(
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


def test_without_leftovers_nothing_is_changed(target: Path) -> None:
    assert not recover(target)
    assert not recover(target.parent / "elsewhere" / "bundle")
    assert (target / "what").read_text() == "old"


def test_export_restores_a_bundle_that_a_killed_export_renamed(
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
    assert "was restored" in caplog.text
