"""The download through kagglehub, and what is said without it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pneumo_chest_xray.download import KAGGLE_NAME, download
from pneumo_cli.errors import PneumoError
from pneumo_cli.installation import pip_install
from pneumo_cli.runtime.progress import Progress

BY_HAND = r"kaggle\.com/.*rscbjbr9sj.*pneumo data import PATH"


@pytest.fixture
def kagglehub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    def install(function: Callable[[str], str]) -> None:
        module = ModuleType("kagglehub")
        module.dataset_download = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "kagglehub", module)

    return install


def test_without_kagglehub_the_error_says_how_to_get_the_data_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(PneumoError, match=BY_HAND) as caught:
        download(tmp_path, Progress())
    assert pip_install("pneumo-chest-xray[download]") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_download_says_why_and_how_to_get_the_data_by_hand(
    tmp_path: Path, kagglehub: Callable[[Callable[[str], str]], None]
) -> None:
    def fails(name: str) -> str:
        raise ConnectionError("no route to host\nand a second line")

    kagglehub(fails)
    with pytest.raises(PneumoError, match=r"no route to host\); " + ".*" + BY_HAND) as caught:
        download(tmp_path, Progress())
    assert "\n" not in str(caught.value)


def test_files_go_to_the_target_and_the_environment_is_restored(
    tmp_path: Path, kagglehub: Callable[[Callable[[str], str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    kagglehub(lambda name: f"{os.environ['KAGGLEHUB_CACHE']}/{name}")
    assert download(tmp_path, Progress()) == tmp_path / KAGGLE_NAME
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, pneumo_chest_xray.plugin as p; list(p.register_datasets()); "
        "print([m for m in ('torch', 'numpy', 'PIL', 'kagglehub', 'pydantic') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
