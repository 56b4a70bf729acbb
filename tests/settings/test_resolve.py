"""Settings: their layers, the origin of each value, and errors that name the wrong place."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Entry
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.specs import Preset


@pytest.fixture
def resolved(fakes: Path):
    """Resolve the settings of a fake trainer in the working folder."""
    plugins = discover()

    def run(flags=None, *, trainer="fake", environ=None, **options):
        return resolve(plugins, plugins.trainers.get(trainer), flags or {}, environ=environ or {}, **options)

    return run


LAYERS = [
    ("default", 3, "default"),
    ("preset", 1, "preset quick"),
    ("file", 11, "pneumo.toml"),
    ("table", 12, "pneumo.toml"),
    ("environment", 13, "PNEUMO_EPOCHS"),
    ("flag", 14, "--epochs"),
]


@pytest.mark.parametrize("highest", range(len(LAYERS)))
def test_each_layer_overrides_those_below_it(highest: int, resolved, fakes: Path) -> None:
    present = {name for name, _, _ in LAYERS[: highest + 1]}
    lines = (["epochs = 11"] if "file" in present else []) + (
        ["[fake]", "epochs = 12"] if "table" in present else []
    )
    (fakes / "pneumo.toml").write_text("\n".join(lines))
    settings = resolved(
        {"epochs": "14"} if "flag" in present else {},
        preset="quick" if "preset" in present else None,
        environ={"PNEUMO_EPOCHS": "13"} if "environment" in present else {},
    )
    _, value, origin = LAYERS[highest]
    assert (settings.trainer.epochs, settings.origins["epochs"]) == (value, origin)
    # A value that no higher layer sets is that of the lower ones.
    if "preset" in present:
        assert (settings.trainer.lr, settings.origins["lr"]) == (0.02, "preset quick")
    assert settings.origins["seed"] == "default"


def test_every_setting_has_an_origin_and_the_model_is_the_trainers_own(resolved) -> None:
    settings = resolved()
    fields = set(type(settings.trainer).model_fields) | set(type(settings.machine).model_fields)
    assert settings.origins.keys() == fields
    assert (settings.trainer.model, settings.origins["model"]) == ("tiny-net", "default")


def test_the_preset_may_come_from_flag_environment_or_file(resolved, fakes: Path) -> None:
    assert resolved().preset.name == "source"
    (fakes / "pneumo.toml").write_text('preset = "quick"')
    assert resolved().preset.name == "quick"
    assert resolved(environ={"PNEUMO_PRESET": "source"}).preset.name == "source"
    assert resolved(preset="quick", environ={"PNEUMO_PRESET": "source"}).preset.name == "quick"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "quik"}, "unknown preset 'quik' (--preset) of fake; did you mean quick?"),
        (
            {"environ": {"PNEUMO_PRESET": "quik"}},
            "unknown preset 'quik' (PNEUMO_PRESET) of fake; did you mean quick?",
        ),
        (
            {"environ": {"PNEUMO_EPOCH": "3"}},
            "unknown environment variable PNEUMO_EPOCH; did you mean PNEUMO_EPOCHS?",
        ),
        (
            {"environ": {"PNEUMO_DEBGU": "1"}},
            "unknown environment variable PNEUMO_DEBGU; did you mean PNEUMO_DEBUG?",
        ),
        ({"flags": {"epochs": "0"}}, "epochs = '0' (--epochs): input should be greater than or equal to 1"),
        (
            {"environ": {"PNEUMO_LR": "-1"}},
            "lr = '-1' (PNEUMO_LR): input should be greater than 0",
        ),
        ({"flags": {"epochs": "many"}}, "epochs = 'many' (--epochs): input should be a valid integer"),
        ({"flags": {"lr": "nan"}}, "lr = 'nan' (--lr): input should be a finite number"),
        (
            {"flags": {"monitor": "lost"}},
            "monitor = 'lost' (--monitor): input should be 'accuracy', 'auc', 'f1' or 'loss'",
        ),
        (
            {"flags": {"device": "gpu"}},
            "device = 'gpu' (--device): a device is auto, cpu, cuda, cuda:N, xpu, xpu:N or mps",
        ),
        ({"file": "epocs = 3"}, "pneumo.toml: unknown setting 'epocs'; did you mean epochs?"),
        ({"file": "[fake]\nepocs = 3"}, "pneumo.toml: [fake]: unknown setting 'epocs'; did you mean epochs?"),
        (
            {"file": "[fakee]\nepochs = 3"},
            "pneumo.toml: there is no trainer, extension or observer for the table [fakee]; did you mean",
        ),
        ({"file": "epochs = 0"}, "epochs = 0 (pneumo.toml): input should be greater than or equal to 1"),
        ({"file": "preset = 'slow'"}, "unknown preset 'slow' (pneumo.toml) of fake; known: quick, source"),
        ({"file": "epochs = "}, "the configuration file pneumo.toml cannot be read"),
        ({"file": b"\xff\xfe\x00"}, "the configuration file pneumo.toml cannot be read"),
        ({"file": "trainer = 'duel'"}, "pneumo.toml was written for the trainer duel, not fake"),
        ({"config": Path("absent.toml")}, "there is no configuration file absent.toml"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_wrong_value_or_name_is_an_error_that_names_its_place(options, words, resolved, fakes) -> None:
    options = dict(options)
    content = options.pop("file", None)
    if content is not None:
        (fakes / "pneumo.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        resolved(options.pop("flags", {}), **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_wrong_values_are_named_together(resolved) -> None:
    with pytest.raises(UsageError, match=r"epochs = '0' .*; lr = '0' .*; devices = '0'"):
        resolved({"epochs": "0", "lr": "0", "devices": "0"})


def test_file_and_environment_may_have_settings_of_other_trainers(resolved, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text("latent = 9\nepochs = 5\n[duel]\nlatent = 11\n[fake]\nlr = 0.5\n")
    environ = {"PNEUMO_MOMENTUM": "0.1"}
    fake, duel = (resolved(trainer=name, environ=environ) for name in ("fake", "duel"))
    assert (fake.trainer.epochs, fake.trainer.lr, fake.trainer.momentum) == (5, 0.5, 0.1)
    assert (duel.trainer.epochs, duel.trainer.latent) == (5, 11)


def test_an_unknown_setting_in_a_preset_names_the_plugin(resolved, fakes: Path) -> None:
    plugins = discover()
    entry = plugins.trainers.get("fake")
    spec = replace(entry.spec, presets=(Preset(name="odd", summary="Odd", values={"epoch": 1}),))
    with pytest.raises(
        UsageError, match=r"the preset odd of pneumo-fake:fake sets 'epoch': did you mean epochs"
    ):
        resolve(plugins, Entry(spec, entry.provenance), {}, environ={})


def test_print_config_is_a_valid_configuration_and_runs_nothing(pneumo, fakes: Path, resolved) -> None:
    shown = pneumo("run", "fake", "--preset", "quick", "--lr", "0.03", "--print-config")
    assert (shown.code, shown.stderr) == (0, "")
    assert list(fakes.iterdir()) == []
    values = tomllib.loads(shown.stdout)
    assert (values["trainer"], values["preset"], values["epochs"], values["lr"]) == ("fake", "quick", 1, 0.03)
    origins = {line.split(" = ")[0]: line.rpartition("# ")[2] for line in shown.stdout.splitlines()}
    assert (origins["epochs"], origins["lr"], origins["seed"]) == ("preset quick", "--lr", "default")
    (fakes / "again.toml").write_text(shown.stdout)
    again = pneumo("run", "fake", "--config", "again.toml", "--print-config")
    assert tomllib.loads(again.stdout) == values


def test_the_recorded_settings_reproduce_the_run(processes, tmp_path: Path) -> None:
    """Both runs are killed before their report."""
    stop = {"SABOTAGE": "SIGKILL@epoch:1"}
    flags = ("--preset", "quick", "--seed", "7", "--batch-size", "12", "--output", "one")
    processes.run(tmp_path, "run", "fake", *flags, **stop)
    (one,) = (tmp_path / "one").glob("*/*")
    recorded = tomllib.loads((one / "run.toml").read_text())
    assert recorded["origin"]["seed"] == "--seed"
    assert recorded["origin"]["epochs"] == "preset quick"
    assert recorded["run"]["trainer"] == "pneumo-fake:fake"
    processes.run(tmp_path, "run", "fake", "--config", one / "run.toml", "--output", "two", **stop)
    (two,) = (tmp_path / "two").glob("*/*")
    states = [Checkpoints(run / "checkpoints").load("last") for run in (one, two)]
    assert states[0]["epoch"] == states[1]["epoch"] == 1
    one_model, other = (state["model"] for state in states)
    assert all(one_model[name].equal(other[name]) for name in one_model)
