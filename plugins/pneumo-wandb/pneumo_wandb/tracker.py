"""Records a run with Weights & Biases: offline unless ``--wandb-mode online`` asks for the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.plugins import Tracker
from pneumo_wandb.settings import WandbSettings


class Wandb(Tracker):
    """A run of Weights & Biases for each run of pneumo; its files are in ``RUN/wandb``."""

    title = "Weights & Biases"
    settings: WandbSettings
    _run: Any

    def open(self, folder: Path, trainer: str, settings: Mapping[str, Any], epochs: int) -> None:
        """Begin a run of the folder's name; a resumed run goes on with it."""
        import wandb

        self._run = wandb.init(
            project=self.settings.project,
            entity=self.settings.entity or None,
            group=trainer,
            name=folder.name,
            id=folder.name,
            resume="allow",
            dir=folder,
            mode=self.settings.mode,
            config={name: _plain(value) for name, value in settings.items()},
            settings=wandb.Settings(silent=True, console="off", init_timeout=20, disable_git=True),
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """One point per metric."""
        self._run.log({**values, "epoch": epoch})

    def figure(self, path: Path) -> None:
        """One image per figure."""
        import wandb

        self._run.log({f"figures/{path.stem}": wandb.Image(str(path))})

    def note(self, name: str, value: str) -> None:
        """A value of the run's summary."""
        self._run.summary[name] = value

    def close(self, error: str) -> None:
        """Finish, with the reason if the run failed."""
        if error:
            self.note("ended", error)
        self._run.finish(exit_code=1 if error else 0)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
