"""A plugin that makes a run fail at a given point: by a signal, a full disk or a loss that is NaN.

The environment variable ``SABOTAGE`` holds ``ACT@POINT``. Points: ``step:EPOCH:STEP``, ``epoch:EPOCH`` (after it is
saved), ``begin:EPOCH``, ``best:EPOCH`` (best is saved, last is not), ``last:NUMBER`` (the n-th last checkpoint is
saved), ``evaluate:NUMBER`` (inside the n-th evaluation) and ``report`` (while the report's figures are drawn).
Acts: ``SIGKILL`` and other signals, ``full`` (no file may grow beyond 2 kB), ``nan``. In a group of runs
``SABOTAGE_FOLD`` selects the one that fails.
"""

import dataclasses
import os
import resource
import signal

from pneumo_cli.api import hookimpl

api_version = 1


class Saboteur:
    def __init__(self, plan):
        self.act, _, self.point = plan.partition("@")
        self.evaluations = 0
        self.lasts = 0

    def reach(self, *point):
        if ":".join(str(part) for part in point) == self.point:
            self.strike()

    def strike(self):
        if self.act == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        elif self.act.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.act))

    def draw(self, run):
        from matplotlib.figure import Figure

        if len(run.history) > run.settings.epochs:  # not when figures are tried before training
            self.strike()
        return Figure()

    @hookimpl
    def epoch_started(self, epoch):
        self.reach("begin", epoch)

    @hookimpl
    def step_finished(self, run):
        self.reach("step", run.epoch, run.step)

    @hookimpl
    def epoch_finished(self, metrics):
        self.reach("epoch", metrics["epoch"])

    @hookimpl
    def checkpoint_saved(self, run, path):
        if path.name == "best.pt":
            self.reach("best", run.epoch)
        else:
            self.lasts += 1
            self.reach("last", self.lasts)

    @hookimpl(wrapper=True)
    def train_step(self, run, batch):
        metrics = yield
        if self.act == "nan" and self.point == f"step:{run.epoch}:{run.step + 1}":
            return {**metrics, "loss": metrics["loss"] * float("nan")}
        return metrics

    @hookimpl(wrapper=True)
    def evaluate(self, run, loader):
        self.evaluations += 1
        if self.point == f"evaluate:{self.evaluations}":
            shown, loader.advance = loader.advance, lambda count: (self.strike(), shown(count))
        evaluation = yield
        if self.point == "report":
            from pneumo_cli.evaluation import NamedFigure

            trap = NamedFigure("trap", "Only in runs that survive.", lambda: self.draw(run))
            return dataclasses.replace(evaluation, figures=(*evaluation.figures, trap))
        return evaluation


@hookimpl
def plugins_for_run(run):
    # Part of the recipe, as it wraps task hooks: with an empty plan it takes part and does nothing.
    harmed = os.environ.get("SABOTAGE_FOLD") in (None, str(run.settings.fold))
    if "SABOTAGE" in os.environ:
        yield Saboteur(os.environ["SABOTAGE"] if harmed else "")
