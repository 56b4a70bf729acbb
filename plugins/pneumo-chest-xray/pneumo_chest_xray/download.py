"""Download from Kaggle with kagglehub; without it or a network, the error says how to get the data by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo_chest_xray.plugin import INSTRUCTIONS
from pneumo_cli import PneumoError
from pneumo_cli.runtime import Progress, pip_install

KAGGLE_NAME = "paultimothymooney/chest-xray-pneumonia"


def download(target: Path, progress: Progress) -> Path:
    """Download the Kaggle archive into ``target`` and return the folder that it was unpacked to.

    kagglehub shows a progress bar of its own, continues an interrupted download, and returns at once if the files
    are already there.

    Raises:
        PneumoError: kagglehub is not installed, or the download failed; with how to get the data by hand.
    """
    with _kagglehub_cache(target):
        try:
            import kagglehub
        except ImportError:
            raise PneumoError(
                f"downloading chest-xray needs kagglehub ({pip_install('pneumo-chest-xray[download]')}); "
                f"without it, {INSTRUCTIONS}"
            ) from None
        try:
            return Path(kagglehub.dataset_download(KAGGLE_NAME))
        except Exception as error:  # network, credentials, disk: the remedy is the same
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PneumoError(f"downloading {KAGGLE_NAME} failed ({reason[:200]}); {INSTRUCTIONS}") from error


@contextmanager
def _kagglehub_cache(folder: Path) -> Iterator[None]:
    """Make kagglehub store its files in ``folder``, which it reads from the environment only."""
    name = "KAGGLEHUB_CACHE"
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
