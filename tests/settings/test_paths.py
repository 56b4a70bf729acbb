"""Paths in settings: ``~`` is expanded once, and users without a home folder are told what to set."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import plain_values, read_toml, resolve
from pneumo_cli.settings.schema import GenerativeSettings, MachineSettings, TransferSettings

FOLDERS = ("output", "cache", "data_home", "data_root")


@pytest.fixture
def home(fakes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in FOLDERS:
        monkeypatch.delenv(f"PNEUMO_{name.upper()}", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize("source", ["file", "environment", "flag"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_tilde_is_the_home_folder_wherever_the_setting_comes_from(
    source: str, name: str, home: Path, fakes: Path
) -> None:
    if source == "file":
        (fakes / "pneumo.toml").write_text(f'{name} = "~/x"')
    plugins = discover()
    resolved = resolve(
        plugins,
        plugins.trainers.get("fake"),
        {name: "~/x"} if source == "flag" else {},
        environ={f"PNEUMO_{name.upper()}": "~/x"} if source == "environment" else {},
    )
    assert getattr(resolved.machine, name) == home / "x"
    for text in (resolved.to_toml({}), resolved.explained()):
        assert tomllib.loads(text)[name] == str(home / "x")


def test_texts_that_may_be_paths_are_expanded_and_names_are_not(home: Path) -> None:
    assert TransferSettings(weights="~/w.pt").weights == f"{home}/w.pt"
    assert TransferSettings(weights="imagenet").weights == "imagenet"
    assert GenerativeSettings(extractor="~/runs/a").extractor == f"{home}/runs/a"
    assert GenerativeSettings(images_of="~A").images_of == "~A"


def test_an_unknown_home_folder_is_one_line_with_the_setting_and_its_origin(home: Path) -> None:
    plugins = discover()
    with pytest.raises(UsageError) as raised:
        resolve(plugins, plugins.trainers.get("fake"), {"output": "~nobody-at-all/x"}, environ={})
    assert str(raised.value) == (
        "output = '~nobody-at-all/x' (--output): the home folder ~nobody-at-all is not known here; give the whole "
        "path (--output or PNEUMO_OUTPUT)"
    )


def test_a_run_writes_where_print_config_says(pneumo, home: Path, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text('output = "~/r"\ncache = "~/c"\nepochs = 1\n')
    shown = tomllib.loads(pneumo("run", "fake", "--print-config").stdout)
    ended = pneumo("run", "fake", "--data-home=~/d")
    assert ended.code == 0, ended.stderr
    (recorded,) = home.glob("r/fake/*/run.toml")
    values = tomllib.loads(recorded.read_text())
    assert (values["output"], values["cache"]) == (shown["output"], shown["cache"])
    assert values["data_home"] == str(home / "d")
    assert {"c", "d", "r"} <= {path.name for path in home.iterdir()}
    assert not (fakes / "~").exists()


def test_relative_paths_stay_relative_to_the_working_folder(home: Path, fakes: Path) -> None:
    machine = MachineSettings(output="x")
    assert machine.output == Path("x")
    assert plain_values(machine)["output"] == str(fakes / "x")


def test_a_user_without_a_home_folder_has_the_root_folder_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "os.path.expanduser", lambda path: path
    )  # as for a user that the system does not know
    machine = MachineSettings()
    assert (machine.cache, machine.data_home) == (Path("/.cache/pneumo"), Path("/.local/share/pneumo"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_skipped(line_end: str, pneumo, fakes: Path) -> None:
    content = f"epochs = 11{line_end}seed = 5{line_end}".encode("utf-8-sig")
    for name, flags in (("pneumo.toml", ()), ("other.toml", ("--config", "other.toml"))):
        (fakes / name).write_bytes(content)
        shown = tomllib.loads(pneumo("run", "fake", "--print-config", *flags).stdout)
        assert (shown["epochs"], shown["seed"]) == (11, 5)
        (fakes / name).unlink()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_configuration_in_another_encoding_is_one_line_that_says_what_to_do(
    encoding: str, tmp_path: Path
) -> None:
    file = tmp_path / "pneumo.toml"
    file.write_bytes('output = "Müller"\n'.encode(encoding))
    with pytest.raises(UsageError) as raised:
        read_toml(file)
    assert str(raised.value) == (
        f"the configuration file {file} cannot be read: it is in UTF-16 or another encoding; save it as UTF-8"
    )
