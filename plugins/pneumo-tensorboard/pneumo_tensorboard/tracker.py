"""Writes a run's metrics, figures and settings as TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumo_cli.plugins import Tracker
from pneumo_tensorboard.settings import TensorBoardSettings

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Tracker):
    """Event files in ``RUN/tensorboard``: ``tensorboard --logdir runs`` shows all runs side by side."""

    title = "TensorBoard"
    settings: TensorBoardSettings
    _writer: SummaryWriter

    def open(self, folder: Path, trainer: str, settings: Mapping[str, Any], epochs: int) -> None:
        """Open the event file; what a killed run wrote of later epochs is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        parent = self.settings.folder
        target = parent / trainer / folder.name if parent is not None else folder / "tensorboard"
        self._writer = SummaryWriter(target, purge_step=epochs or None)
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}")

    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """One scalar per metric."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def figure(self, path: Path) -> None:
        """One image per figure."""
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(f"figures/{path.stem}", pixels, dataformats="HWC")

    def note(self, name: str, value: str) -> None:
        """One text."""
        self._writer.add_text(name, value)

    def close(self, error: str) -> None:
        """Close the event file, with the reason if the run failed."""
        if error:
            self._writer.add_text("ended", error)
        self._writer.close()
