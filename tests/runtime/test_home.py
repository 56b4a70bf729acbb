"""``~`` at the beginning of a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pneumo_cli.runtime.home import expand_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home folder and, at the same time, the working folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_only_a_leading_tilde_is_a_home_folder(home: Path) -> None:
    assert expand_home("~/x/~") == f"{home}/x/~"
    assert expand_home("~") == str(home)
    assert expand_home("./~/x") == "./~/x"
    assert expand_home("image~") == "image~"


@pytest.mark.skipif(os.name == "nt", reason="no database of users")
def test_a_named_user_has_the_home_folder_that_the_system_knows() -> None:
    import pwd

    entry = pwd.getpwuid(0)
    assert expand_home(f"~{entry.pw_name}/x") == f"{entry.pw_dir.rstrip('/')}/x"


def test_an_unknown_user_is_an_error_unless_a_file_has_this_name(home: Path) -> None:
    with pytest.raises(ValueError, match="the home folder ~nobody-at-all is not known here"):
        expand_home("~nobody-at-all/x")
    (home / "~backup.png").touch()
    assert expand_home("~backup.png") == "~backup.png"
