"""The commit of the folder that a command was typed in is read without git, and whatever is there."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from threading import Thread

import pytest

from pneumo_cli.runs.git_revision import git_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def repository(top: Path, **files: str) -> Path:
    for name, content in files.items():
        file = top / ".git" / name.replace("__", "/").replace("_", "-")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return top


@pytest.mark.parametrize(
    "files",
    [
        {"HEAD": "ref: refs/heads/main\n", "refs__heads__main": f"{COMMIT}\n"},
        {
            "HEAD": "ref: refs/heads/main\n",
            "packed_refs": f"# pack-refs\n{COMMIT} refs/heads/main\n^{'0' * 40}\n",
        },
        {"HEAD": f"{COMMIT}\n"},
    ],
    ids=["a branch", "a packed branch", "a detached head"],
)
def test_the_commit_is_found_from_any_folder_below(files: dict[str, str], tmp_path: Path) -> None:
    (repository(tmp_path, **files) / "deep" / "er").mkdir(parents=True)
    assert git_revision(tmp_path / "deep" / "er") == {"commit": COMMIT}


def test_a_worktree_has_the_branches_of_its_repository(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", HEAD="ref: refs/heads/main\n", refs__heads__other=COMMIT)
    own = main / ".git" / "worktrees" / "other"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/other\n")
    (own / "commondir").write_text("../..\n")
    tree = tmp_path / "other"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {own}\n")
    assert git_revision(tree) == {"commit": COMMIT}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"HEAD": "ref: refs/heads/main\n"},
        {"HEAD": "ref: refs/../../../secret\n"},
        {"HEAD": "ref: refs/heads/main\n", "refs__heads__main": "<script>\n"},
        {"HEAD": "\0" * 9},
    ],
    ids=["no repository", "no commit yet", "a ref that leads out", "no commit in the ref", "damaged"],
)
def test_where_there_is_no_commit_nothing_is_said(files: dict[str, str], tmp_path: Path) -> None:
    assert git_revision(repository(tmp_path / "top", **files)) == {}


def test_installed_packages_are_nobodys_own_code(tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages" / "pneumo_cli"
    installed.mkdir(parents=True)
    assert git_revision(repository(tmp_path, HEAD=COMMIT) / installed) == {}


def test_no_program_of_the_repository_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # git is found, if it is installed
    (tmp_path / ".gitattributes").write_text("* filter=own\n")
    (tmp_path / "recipe.py").write_text("lr = 0.1\n")
    started = tmp_path / "started"
    config = f'[filter "own"]\n\tclean = touch {started}\n[core]\n\tfsmonitor = touch {started}\n'
    assert git_revision(repository(tmp_path, HEAD=COMMIT, config=config)) == {"commit": COMMIT}
    assert not started.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", ["HEAD", "refs/heads/main", "packed-refs", "commondir"])
def test_a_pipe_in_place_of_a_file_blocks_nothing(name: str, tmp_path: Path) -> None:
    top = repository(tmp_path, HEAD="ref: refs/heads/main\n")
    pipe = top / ".git" / name
    pipe.parent.mkdir(parents=True, exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    found: list[object] = []
    asked = Thread(target=lambda: found.append(git_revision(top)), daemon=True)
    asked.start()
    asked.join(10)
    assert found == [{}]


def test_lines_of_any_length_are_read_in_pieces(tmp_path: Path) -> None:
    packed = "x" * 1_000_000 + f"\n{COMMIT} refs/heads/main\n"
    top = repository(tmp_path, HEAD="ref: refs/heads/main\n", packed_refs=packed)
    tracemalloc.start()
    try:
        assert git_revision(top) == {"commit": COMMIT}
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
