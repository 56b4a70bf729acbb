"""``~`` on the command line, where the shell leaves it: ``--cam=~/x``, or a quoted argument."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
import typer

from pneumo_cli.cli.path_arguments import with_homes
from pneumo_cli.errors import UsageError


@pytest.fixture
def home(fakes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home folder, with a run in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run_at_home(finished_run, home: Path) -> str:
    home.mkdir()
    (home / "run").symlink_to(finished_run("fake", "--split", "patient"))
    return "~/run"


def test_paths_and_lists_of_paths_are_expanded_and_other_texts_are_not(home: Path) -> None:
    def command(
        one: Path,
        none: Path | None,
        several: list[Path],
        pair: tuple[Path, Path],
        globs: Annotated[list[str], typer.Argument(metavar="PATH")],
        setting: Annotated[str, typer.Option(metavar="PATH")],
        texts: list[str],
        count: int,
    ) -> dict[str, object]:
        return dict(locals())

    tilde = Path("~/x")
    texts = ["~/x", "-"]
    called = with_homes(command)(
        one=tilde,
        none=None,
        several=[tilde, Path("y")],
        pair=(tilde, tilde),
        globs=texts,
        setting="~/x",
        texts=texts,
        count=3,
    )
    x = home / "x"
    assert called == {
        "one": x,
        "none": None,
        "several": [x, Path("y")],
        "pair": (x, x),
        "globs": [str(x), "-"],
        "setting": "~/x",  # expanded with the settings
        "texts": texts,
        "count": 3,
    }


def test_an_unknown_home_folder_is_an_error_that_names_the_path() -> None:
    with pytest.raises(UsageError, match="'~nobody-at-all/x': the home folder ~nobody-at-all is not known"):
        with_homes(lambda path: path)(path=Path("~nobody-at-all/x"))


def test_commands_find_runs_and_images_at_home_and_write_there(
    pneumo, run_at_home: str, home: Path, fakes: Path
) -> None:
    (image,) = list((home / "run").glob("figures/*.png"))[:1] or [None]
    assert image is not None, "a run without figures"
    (home / "a.png").write_bytes(image.read_bytes())
    ended = pneumo("predict", run_at_home, "~/a.png", "~/*.png", "--cam=~/cam", "--json")
    assert ended.code == 0, ended.stderr
    assert [item["file"] for item in json.loads(ended.stdout)["predictions"]] == [str(home / "a.png")]
    assert [path.name for path in (home / "cam").iterdir()] == ["a.png"]
    for command in (("list-runs", "~"), ("list-runs", "~/run"), ("resume", run_at_home)):
        ended = pneumo(*command)
        assert ended.code in (0, 2), ended.stderr
        assert "~" not in ended.stdout + ended.stderr
    (home / "c.toml").write_text("epochs = 7")
    assert "epochs = 7" in pneumo("run", "fake", "--config=~/c.toml", "--print-config").stdout
    assert not (fakes / "~").exists()


def test_every_command_expands_its_paths(pneumo, home: Path) -> None:
    commands = (("evaluate", "~/no"), ("resume", "~/no"), ("predict", "~/no", "x.png"), ("list-runs", "~/no"))
    commands += (("data", "import", "~/no", "--dataset", "seeded"),)
    for command in commands:
        ended = pneumo(*command)
        assert ended.code == 2, command
        assert str(home / "no") in ended.stderr, ended.stderr
