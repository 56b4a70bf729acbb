"""The command line: quick to start, JSON on stdout, one line on stderr for whatever is wrong, and nothing left."""

from __future__ import annotations

import json
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

    shown = pneumo("run", "fake", "--help").stdout
    for name in (*ClassificationSettings.model_fields, *MachineSettings.model_fields):
        assert "--" + name.replace("_", "-") in shown
    assert "--latent" not in shown
    assert "--latent" in pneumo("run", "duel", "--help").stdout


def test_help_is_whole_in_a_narrow_terminal(pneumo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for command in ((), ("run",), ("run", "fake"), ("data",), ("predict",), ("list-runs",)):
        shown = pneumo(*command, "--help").stdout
        assert max(map(len, shown.splitlines())) <= 60
        assert "…," not in shown
        _, _, text = shown.partition("\n\n")  # what follows the line of usage
        assert not [line for line in text.splitlines() if line.endswith("...")]
    settings = pneumo("run", "fake", "--help").stdout
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


# What is asked for, what the line has to hold. The working folder is empty but for what `furniture` puts there.
BAD = {
    "command": (("rn",), "unknown command 'rn'; did you mean run?"),
    "trainer": (("run", "fakee"), "unknown trainer 'fakee'; did you mean fake?"),
    "trainer to resume": (("resume", "nowhere"), "there is no run folder nowhere"),
    "file to resume": (("resume", "a-file"), "a-file is a file: name the run's folder"),
    "folder to resume": (("resume", "a-folder"), "a-folder is no run folder: it has no run.toml"),
    "run.toml": (("resume", "torn-run"), "the configuration file torn-run/run.toml cannot be read"),
    "run.toml without facts": (("resume", "bare-run"), "bare-run/run.toml is damaged: it has no table [run]"),
    "model": (("run", "fake", "--model", "tiny-ned"), "unknown model 'tiny-ned'; did you mean tiny-net?"),
    "kind of model": (
        ("run", "fake", "--model", "two-nets"),
        "fake trains models of kind classifier, and two-nets is of kind pair; of the right kind: ",
    ),
    "dataset": (("run", "fake", "--dataset", "tinny"), "unknown dataset 'tinny'; did you mean tiny?"),
    "preset": (
        ("run", "fake", "--preset", "quik"),
        "unknown preset 'quik' (--preset) of fake; did you mean quick?",
    ),
    "flag": (("run", "fake", "--epoch", "3"), "--epoch"),
    "value": (
        ("run", "fake", "--epochs", "0"),
        "epochs = '0' (--epochs): input should be greater than or equal",
    ),
    "type": (("run", "fake", "--lr", "fast"), "lr = 'fast' (--lr): input should be a valid number"),
    "flag without value": (("run", "fake", "--lr"), "'--lr' requires an argument"),
    "superfluous argument": (("run", "fake", "quick"), "quick"),
    "config": (("run", "fake", "--config", "absent.toml"), "there is no configuration file absent.toml"),
    "device": (("run", "fake", "--device", "cuda:99"), "cuda"),
    "root unknown": (
        ("run", "fake", "--dataset", "seeded"),
        "where the images of seeded lie is not known: name it with --data-root PATH, or import it once",
    ),
    "root missing": (
        ("run", "fake", "--dataset", "seeded", "--data-root", "absent"),
        "absent holds no seed.txt",
    ),
    "root not wanted": (
        ("run", "fake", "--data-root", "a-folder"),
        "the dataset tiny has no folder of images: --data-root does not go with it",
    ),
    "unreadable images": (
        ("run", "fake", "--dataset", "torn"),
        "2 of 64 images in drawn in memory cannot be read: train/NORMAL/patient000_0 (truncated in the middle); "
        "test/PNEUMONIA/patient025_1 (truncated in the middle)",
    ),
    "output a file": (("run", "fake", "--output", "a-file"), "the output folder a-file cannot be written"),
    "output below a file": (
        ("run", "fake", "--output", "a-file/x"),
        "the output folder a-file/x cannot be written",
    ),
    "cache a file": (("run", "fake", "--cache", "a-file"), "a-file"),
    "split": (
        ("evaluate", "torn-run", "--on", "tests"),
        "'tests' is none of train, validation, test; did you mean",
    ),
    "show": (("show", "fakee"), "unknown trainer, model or dataset 'fakee'; did you mean fake?"),
    "size": (
        ("run", "fake", "--image-size", "65"),
        "image_size = '65' (--image-size): input should be less than",
    ),
}


@pytest.fixture
def furniture(fakes: Path) -> Path:
    (fakes / "a-file").write_text("in the way")
    (fakes / "a-folder").mkdir()
    for name, content in (("torn-run", "[run"), ("bare-run", "epochs = 3\n")):
        (fakes / name).mkdir()
        (fakes / name / "run.toml").write_text(content)
    return fakes


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(kind: str, pneumo, furniture: Path) -> None:
    command, words = BAD[kind]
    before = sorted(furniture.rglob("*"))
    ended = pneumo(*command)
    assert ended.code == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pneumo: ")
    assert words in line
    assert sorted(furniture.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PNEUMO_EPOCHES", "3", "unknown environment variable PNEUMO_EPOCHES; did you mean PNEUMO_EPOCHS?"),
        ("PNEUMO_EPOCHS", "-3", "epochs = '-3' (PNEUMO_EPOCHS): input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_environment_is_one_line_and_leaves_nothing(
    name, value, words, pneumo, fakes, monkeypatch
) -> None:
    monkeypatch.setenv(name, value)
    ended = pneumo("run", "fake")
    assert ended.code == 2
    assert ended.stderr.splitlines() == [f"pneumo: {words}"]
    assert list(fakes.iterdir()) == []


def test_a_model_that_does_not_fit_the_images_is_found_before_anything_is_written(
    install, pneumo, fakes
) -> None:
    models = (
        "from torch import nn\n"
        "def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 1))\n"
        "def three(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
        "def fails(): raise ValueError('no weights here')\n"
        "def nothing(): return None\n"
    )
    plugin = (
        "from pneumo_cli.api import ModelSpec, hookimpl\napi_version = 1\n@hookimpl\ndef register_models():\n"
        "    for name in ('wide', 'three', 'fails', 'nothing', 'absent'):\n"
        "        yield ModelSpec(name=name, kind='classifier', summary='Odd', factory=f'odd_models:{name}')\n"
    )
    install("pneumo-odd", {"odd": "odd_plugin"}, {"odd_plugin": plugin, "odd_models": models})
    expected = {
        "wide": "the model pneumo-odd:wide cannot take images of 3 x 32 x 32",
        "three": "the model pneumo-odd:three returns [1, 3] for one image, where a classifier returns [1, 1]",
        "fails": "the model fails (pneumo-odd 1.0) cannot be built: ValueError: no weights here",
        "nothing": "the model nothing (pneumo-odd 1.0) returned NoneType, not a torch.nn.Module",
        "absent": "the model absent (pneumo-odd 1.0) cannot be imported from odd_models:absent",
    }
    for name, words in expected.items():
        ended = pneumo("run", "fake", "--model", name)
        assert ended.code == 2
        (line,) = ended.stderr.splitlines()
        assert words in line
    assert list(fakes.iterdir()) == []


def test_unreadable_images_may_be_skipped_and_are_counted(pneumo, fakes: Path) -> None:
    ended = pneumo("run", "fake", "--dataset", "torn", "--skip-unreadable", "--epochs", "1")
    assert ended.code == 0, ended.stderr
    (report,) = fakes.glob("runs/fake/*/report.json")
    assert "truncated in the middle" in report.read_text()
    assert "truncated in the middle" in report.with_suffix(".md").read_text()


def test_the_last_lines_of_a_run_name_folder_report_and_next_command_and_that_works(
    pneumo, fakes: Path
) -> None:
    ended = pneumo("run", "fake", "--epochs", "1")
    assert (ended.code, ended.stdout) == (0, "")
    last = dict(line.split(maxsplit=1) for line in ended.stderr.splitlines()[-3:])
    assert Path(last["report"]).is_file()
    assert Path(last["folder"]).is_dir()
    program, *command = last["next"].split()
    assert program == "pneumo"
    judged = pneumo(*command, "--json")
    assert judged.code == 0, judged.stderr
    report = json.loads((Path(last["folder"]) / "report.json").read_text())
    assert json.loads(judged.stdout)["metrics"] == pytest.approx(report["evaluations"]["test"])
    assert len(list(Path(last["folder"]).joinpath("evaluations").iterdir())) == 1


def test_a_run_is_judged_on_another_dataset_that_knows_nothing_of_its_data_root(
    pneumo, fakes: Path, tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "seed.txt").write_text("7")
    own = ("--dataset", "seeded", "--data-root", tmp_path / "films")
    ended = pneumo("run", "fake", "--epochs", "1", *own, "--output", tmp_path / "runs")
    assert ended.code == 0, ended.stderr
    (run,) = (tmp_path / "runs" / "fake").iterdir()
    judged = pneumo("evaluate", run, "--dataset", "tiny", "--json")
    assert judged.code == 0, judged.stderr
    assert json.loads(judged.stdout)["dataset"] == "tiny"
    assert "not the data that the run was trained on" in judged.stderr


def test_there_are_no_bars_and_no_colour_off_a_terminal_or_under_no_color(processes, tmp_path: Path) -> None:
    ended = processes.run(tmp_path, "run", "fake", "--epochs", 1, "--cache", tmp_path / "cache")
    assert ended.code == 0
    assert "\x1b" not in ended.stderr + ended.stdout
    assert "\r" not in ended.stderr


def test_a_reader_that_goes_away_is_no_failure(
    fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> None:
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
        "list-models",
        "list-plugins",
        "list-runs",
        "list-trainers",
    ]
    assert complete("pneumo run f", 2) == ["fake"]
