"""An observer: python main.py fit --trainer.callbacks+=journal.Journal"""

from lightning import Callback
from lightning.pytorch.utilities import rank_zero_warn


class Journal(Callback):
    def write(self, trainer, text):
        if trainer.is_global_zero:
            try:
                with open("journal.txt", "a") as file:
                    file.write(f"{trainer.log_dir} {text}\n")
            except OSError as error:
                rank_zero_warn(f"journal: {error}")

    def on_test_end(self, trainer, module):
        self.write(trainer, {name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_exception(self, trainer, module, exception):
        self.write(trainer, repr(exception))
