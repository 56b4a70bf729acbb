"""Help, lists and completion: quick to start, readable in a narrow terminal, and JSON on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "torchmetrics",
    "matplotlib",
    "pydantic",
    "pydantic_settings",
    "numpy",
    "PIL",
}


@pytest.mark.parametrize(
    "command", [("--help",), ("list-models",), ("list-models", "--json"), ("list-plugins",)]
)
def test_help_and_lists_import_nothing_heavy(
    command: tuple[str, ...], fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> None:
    program = (
        "import atexit, sys; from pneumo_cli.cli.main import main; "
        f"atexit.register(lambda: print('loaded', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)); "
        f"sys.argv[1:] = {list(command)!r}; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**fake_environ, "PYTHONPATH": str(fake_site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout
    assert ended.stderr == "loaded\n"


@pytest.mark.parametrize(
    "command",
    [
        ("list-trainers",),
        ("list-models",),
        ("list-datasets",),
        ("list-plugins",),
        ("show", "fake"),
        ("show", "tiny-net"),
        ("show", "tiny"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_json_is_json_and_nothing_else(command: tuple[str, ...], pneumo) -> None:
    ended = pneumo(*command, "--json")
    assert (ended.code, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)
    assert pneumo(*command).stdout.strip()


def test_lists_say_where_everything_comes_from(pneumo) -> None:
    rows = json.loads(pneumo("list-trainers", "--json").stdout)
    assert rows[1] == {
        "name": "fake",
        "kind": "classifier",
        "model": "tiny-net",
        "presets": ["source", "quick"],
        "distribution": "pneumo-fake",
        "version": "1.0",
        "summary": "A classifier in no time",
    }
    assert "pneumo-fake 1.0" in pneumo("list-models").stdout


def test_the_fields_of_a_trainers_settings_are_the_flags_of_its_command(pneumo) -> None:
    from pneumo_cli.settings.schema import ClassificationSettings, MachineSettings

    shown = pneumo("run", "fake", "--help-all").stdout
    for name in (*ClassificationSettings.model_fields, *MachineSettings.model_fields):
        assert "--" + name.replace("_", "-") in shown
    first = ("\n  --preset ", "\n  --config ", "\n  --print-config ", "\n  --with ")
    assert sorted(first, key=shown.index) == [*first]
    assert "--latent" not in shown
    assert "--latent" in pneumo("run", "duel", "--help-all").stdout


def test_a_list_without_rows_has_its_head(pneumo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", f"{os.environ['PNEUMO_DISABLE_PLUGINS']},fake,saboteur")
    heads = {"trainers": "NAME  KIND  MODEL  PRESETS", "models": "NAME  KIND", "datasets": "NAME  SYNTHETIC"}
    for name, head in {**heads, "extensions": "NAME  KIND"}.items():
        assert pneumo(f"list-{name}").stdout == f"{head}  FROM  SUMMARY\n"


def test_help_is_whole_in_a_narrow_terminal(pneumo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, pneumo("--help").stdout.splitlines())) <= 40
    monkeypatch.setenv("COLUMNS", "60")
    commands = [(), ("run",), ("run", "fake"), ("data",), ("predict",), ("list-runs",)]
    for command in [*((*one, "--help") for one in commands), ("run", "fake", "--help-all")]:
        shown = pneumo(*command).stdout
        assert max(map(len, shown.splitlines())) <= 60
        assert "…," not in shown
        _, _, text = shown.partition("\n\n")  # what follows the line of usage
        assert not [line for line in text.splitlines() if line.endswith("...")]
    settings = pneumo("run", "fake", "--help-all").stdout
    assert "--skip-unreadable / --no-skip-unreadable" in settings
    assert [settings.index(f"\n{group}:\n") for group in ("Options", "Recipe", "Machine")]
    assert "(phantom)" not in settings


def test_doctor_says_which_folder_cannot_be_written(
    pneumo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PNEUMO_CACHE", str(tmp_path / "file" / "cache"))
    folders = json.loads(pneumo("doctor", "--json").stdout)["folders"]
    assert "cannot be written" in folders["cache"]
    assert "cannot be written" not in folders["output"] + folders["data"]


def test_a_closed_pipe_is_no_failure(fake_environ: dict[str, str], fake_site: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m pneumo_cli list-models --json | true"
    ended = subprocess.run(
        ["sh", "-c", command],
        env={**fake_environ, "PYTHONPATH": str(fake_site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""


def test_completion_knows_commands_and_trainers(
    fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> None:
    def complete(words: str, position: int) -> list[str]:
        ended = subprocess.run(
            [
                sys.executable,
                "-c",
                "from pneumo_cli.cli.main import main; import sys; sys.argv[0] = 'pneumo'; main()",
            ],
            env={
                **fake_environ,
                "PYTHONPATH": str(fake_site),
                "_PNEUMO_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.stdout.split()

    assert sorted(complete("pneumo list-", 1)) == [
        "list-datasets",
        "list-extensions",
        "list-models",
        "list-plugins",
        "list-runs",
        "list-trainers",
    ]
    assert complete("pneumo run f", 2) == ["fake"]
