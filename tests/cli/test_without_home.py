"""A user whom the system does not know, without HOME, as in containers that run with a number for a user."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

UNKNOWN = "54321"

pytestmark = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "--user", f"--map-user={UNKNOWN}", "true"], capture_output=True).returncode
    != 0,
    reason="users cannot be mapped here",
)


@pytest.fixture
def alone(
    fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess]:
    """``pneumo ARGUMENTS`` as an unknown user, with no other variables than those given."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: fake_environ[name] for name in ("PATH", "PNEUMO_DISABLE_PLUGINS")}
        return subprocess.run(
            ["unshare", "--user", f"--map-user={UNKNOWN}", sys.executable, "-m", "pneumo_cli", *arguments],
            env={**kept, "PYTHONPATH": str(fake_site), "OMP_NUM_THREADS": "1", **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.slow
def test_a_run_needs_no_home_folder_where_its_folders_are_given(alone, tmp_path: Path) -> None:
    folders = {"PNEUMO_CACHE": str(tmp_path / "cache"), "PNEUMO_DATA_HOME": str(tmp_path / "data")}
    ended = alone("run", "fake", "--epochs", "1", **folders)
    assert ended.returncode == 0, ended.stderr
    assert "warning" not in ended.stderr.lower()
    assert "matplotlib" not in ended.stderr.lower()
    assert [path for path in tmp_path.glob("runs/*/*/report.html") if path.stat().st_size]


def test_a_folder_of_a_user_without_a_home_is_refused_in_one_line_that_names_the_settings(
    alone, tmp_path: Path
) -> None:
    ended = alone("run", "fake", "--cache", "~/c")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "pneumo: cache = '~/c' (--cache): the home folder ~ is not known here; give the whole path (--cache or "
        "PNEUMO_CACHE)\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_home_folder_that_cannot_be_used_is_refused_in_one_line_too(alone, tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    ended = alone("run", "fake", HOME=str(home))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "choose another one with --cache or PNEUMO_CACHE" in ended.stderr
    assert list(tmp_path.iterdir()) == [home]
