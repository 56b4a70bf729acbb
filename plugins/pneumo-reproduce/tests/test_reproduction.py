"""Carrying out a reproduction: what is run, resumed, kept or tried again, and in which states tasks are."""

import json
import re
import threading
from contextlib import contextmanager
from types import MappingProxyType

import pytest

from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.progress import Progress
from pneumo_reproduce import reproduction
from pneumo_reproduce.plan import Plan
from pneumo_reproduce.reproduction import Reproduction, begin, is_begun

TASKS = ("cnn", "gan", "autoencoder")


def planned(name, problem=""):
    return {
        "name": name,
        "title": f"Task {name}",
        "trainer": name,
        "problem": problem,
        "replaced": "",
        "settings": {"epochs": 2},
    }


def begun(folder, problems=MappingProxyType({})):
    """The folder of a planned reproduction of three tasks."""
    tasks = [planned(name, problems.get(name, "")) for name in TASKS]
    content = {"format": 1, "preset": "quick", "flags": {"dataset": "tiny"}, "dataset": {}, "tasks": tasks}
    begin(folder, Plan(content, {name: f'trainer = "{name}"\n' for name in TASKS if name not in problems}))
    return folder


def write_run(folder, task, name="run", epochs=None):
    """A run of a task: with a report of some epochs, or only with a checkpoint."""
    run = folder / "tasks" / task / name
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "run.toml").touch()
    (run / "checkpoints" / "last.pt").touch()
    if epochs is not None:
        (run / "report.json").write_text(json.dumps({"history": [{}] * (epochs + 1)}))
    return run


class Processes:
    """Replaces processes: records each command, and writes a run's files."""

    def __init__(self, monkeypatch, folder, ends=MappingProxyType({})):
        self.commands = []
        self.environs = []
        self._folder, self._ends = folder, ends
        monkeypatch.setattr(reproduction, "_relayed", self)

    def __call__(self, command, environ, log, poll):
        arguments = command[command.index("pneumo_cli") + 1 :]
        self.commands.append(arguments)
        self.environs.append(environ)
        task = log.stem
        code, reason = self._ends.get(task, (0, ""))
        if code == 0:
            run = write_run(self._folder, task, "run", epochs=2)
            for epoch in (0, 2):
                with (run / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"epoch": epoch}) + "\n")
                poll()
        return code, reason


def carried_out(folder, names=TASKS):
    with Reproduction(folder) as reproduction:
        return dict(reproduction.carry_out(names, lambda message: None))


def test_tasks_are_run_in_order_with_the_settings_of_the_plan(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    monkeypatch.setenv("PNEUMO_EPOCHS", "99")
    processes = Processes(monkeypatch, folder)
    outcomes = carried_out(folder)
    assert [outcome.state for outcome in outcomes.values()] == ["done"] * 3
    assert [command[:2] for command in processes.commands] == [["run", name] for name in TASKS]
    assert processes.commands[0][2:4] == ["--config", str(folder / "tasks" / "cnn.toml")]
    # The environment has no influence on a reproduction that was planned before.
    assert not any("PNEUMO_EPOCHS" in environ for environ in processes.environs)


def test_a_failed_task_does_not_stop_the_others_and_is_tried_again_by_the_next_call(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    Processes(monkeypatch, folder, {"gan": (1, "the loss is NaN")})
    outcomes = carried_out(folder)
    assert [outcome.state for outcome in outcomes.values()] == ["done", "failed", "done"]
    assert outcomes["gan"].reason == "the loss is NaN"
    with Reproduction(folder) as reproduction:  # the reason is kept
        assert reproduction.outcome("gan").reason == "the loss is NaN"
    again = Processes(monkeypatch, folder)
    assert carried_out(folder)["gan"].state == "done"
    assert [command[1] for command in again.commands] == ["gan"]


def test_each_task_logs_its_start_and_its_epochs_advance_a_bar(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    write_run(folder, "gan", epochs=2)
    write_run(folder, "autoencoder")
    Processes(monkeypatch, folder)
    messages, stages = [], []

    class Bars(Progress):
        @contextmanager
        def stage(self, name, total, unit="images"):
            stages.append([name, total, unit])
            yield stages[-1].append

    with Reproduction(folder) as reproduction:
        list(reproduction.carry_out(TASKS, messages.append, Bars()))
    assert messages == ["1 of 3, cnn: starts", "3 of 3, autoencoder: continues"]
    assert stages == [["1 of 3, cnn", 2, "epochs", 2], ["3 of 3, autoencoder", 2, "epochs", 2]]


def test_an_interrupted_run_is_resumed_and_a_finished_one_is_kept(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    write_run(folder, "cnn", epochs=2)
    half = write_run(folder, "gan")
    processes = Processes(monkeypatch, folder)
    with Reproduction(folder) as reproduction:
        assert [reproduction.outcome(name).state for name in TASKS] == ["done", "stopped", "waiting"]
    carried_out(folder)
    assert processes.commands[0] == ["resume", str(half)]
    assert [command[0] for command in processes.commands] == ["resume", "run"]


def test_a_run_with_fewer_epochs_than_planned_is_not_finished(tmp_path):
    folder = begun(tmp_path / "r")
    write_run(folder, "cnn", epochs=1)
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("cnn").state == "stopped"


def test_a_run_that_ended_before_its_first_checkpoint_is_started_again(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    run = write_run(folder, "cnn", "early")
    (run / "checkpoints" / "last.pt").unlink()
    processes = Processes(monkeypatch, folder)
    carried_out(folder, ["cnn"])
    assert processes.commands[0][:2] == ["run", "cnn"]


def test_a_signal_stops_the_reproduction_and_the_message_has_the_command_to_go_on(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    processes = Processes(monkeypatch, folder, {"gan": (143, "")})
    with pytest.raises(Interrupted, match=re.escape(f"pneumo reproduce --output {folder}")) as caught:
        carried_out(folder)
    assert caught.value.exit_code == 143
    assert [command[1] for command in processes.commands] == ["cnn", "gan"]
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("gan").state == "waiting"  # not failed


def test_a_task_that_cannot_be_run_is_skipped_with_its_reason(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r", {"gan": "unknown trainer 'gan'"})
    processes = Processes(monkeypatch, folder)
    outcomes = carried_out(folder)
    assert (outcomes["gan"].state, outcomes["gan"].reason) == ("failed", "unknown trainer 'gan'")
    assert [command[1] for command in processes.commands] == ["cnn", "autoencoder"]


def test_the_process_of_a_call_that_was_killed_is_waited_for(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    run = write_run(folder, "cnn")
    processes = Processes(monkeypatch, folder)
    monkeypatch.setattr("pneumo_reproduce.reproduction._POLL", 0.02)
    lock = RunFolder(run).lock()

    def finish():
        write_run(folder, "cnn", epochs=2)
        lock.close()

    timer = threading.Timer(0.1, finish)
    timer.start()
    messages = []
    with Reproduction(folder) as reproduction:
        outcomes = dict(reproduction.carry_out(["cnn"], messages.append))
    timer.join()
    assert outcomes["cnn"].state == "done"
    assert processes.commands == []
    assert messages == [f"waiting for the process that is working on {run}"]


def test_two_calls_cannot_use_one_folder(tmp_path):
    folder = begun(tmp_path / "r")
    with Reproduction(folder), pytest.raises(PneumoError, match="another process"):
        Reproduction(folder)
    Reproduction(folder).close()


def test_a_damaged_plan_is_an_error_of_one_line_and_the_lock_is_released(tmp_path):
    folder = begun(tmp_path / "r")
    (folder / "plan.json").write_text('{"tasks": 3}')
    for _ in range(2):
        with pytest.raises(PneumoError, match=r"the plan in .* is damaged"):
            Reproduction(folder)


def test_a_damaged_list_of_failures_is_ignored(tmp_path):
    folder = begun(tmp_path / "r")
    (folder / "outcomes.json").write_text("[1, 2")
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("cnn").state == "waiting"


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        is_begun(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        is_begun(tmp_path / "thesis.tex")
    assert not is_begun(tmp_path / "new")
    assert is_begun(begun(tmp_path / "r"))
