"""Misuse: one line on stderr, exit code 2, and no file written."""

from __future__ import annotations

from pathlib import Path

import pytest

# The command, and what the line has to contain. The working folder holds what `furniture` puts there.
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
    "split without validation": (
        ("run", "fake", "--split", "all"),
        "split = 'all' holds no image out, and a classifier selects its checkpoint",
    ),
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
        "2 of 64 images in generated in memory cannot be read: train/NORMAL/patient000_0 (truncated in the "
        "middle); test/PNEUMONIA/patient025_1 (truncated in the middle)",
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
    "show": (
        ("show", "fakee"),
        "unknown trainer, model, dataset, extension or observer 'fakee'; did you mean fake",
    ),
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
