"""pneumo reproduce: what is planned, what is run, what survives, and what goes on where it was."""

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

import pneumo_cli
from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.progress import Progress
from pneumo_reproduce import reproduction
from pneumo_reproduce.plan import Plan, Request, make_plan, planned_again
from pneumo_reproduce.reproduction import Reproduction, begin, is_begun
from pneumo_reproduce.source_report import source_report

TASKS = ("cnn", "gan", "autoencoder")

# Two of the report's tasks, in no time, from a stranger's distribution; the others are not installed.
PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="cnn",
        summary="Stands for the CNN",
        trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_fake.settings:FakeSettings",
        kind="classifier",
        model="tiny-net",
        presets=(
            Preset(name="source", summary="As published"),
            Preset(name="quick", summary="Other epochs", values={"epochs": 2, "lr": 0.02}),
        ),
    )
    yield TrainerSpec(
        name="gan",
        summary="Stands for the GAN",
        trainer="pneumo_fake.trainers:DuelTrainer",
        settings="pneumo_fake.settings:DuelSettings",
        kind="pair",
        model="two-nets",
        presets=(Preset(name="source", summary="As published"), Preset(name="quick", summary="The same")),
    )
"""


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
    """A reproduction of three tasks that somebody has planned."""
    tasks = [planned(name, problems.get(name, "")) for name in TASKS]
    content = {"format": 1, "preset": "quick", "flags": {"dataset": "tiny"}, "dataset": {}, "tasks": tasks}
    begin(folder, Plan(content, {name: f'trainer = "{name}"\n' for name in TASKS if name not in problems}))
    return folder


def write_run(folder, task, name="run", epochs=None):
    """A run of a task: finished with a number of epochs, or with a checkpoint only."""
    run = folder / "tasks" / task / name
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "run.toml").touch()
    (run / "checkpoints" / "last.pt").touch()
    if epochs is not None:
        (run / "report.json").write_text(json.dumps({"history": [{}] * (epochs + 1)}))
    return run


class Processes:
    """Instead of processes: notes each command, and does with it what a test says."""

    def __init__(self, monkeypatch, folder, ends=MappingProxyType({})):
        self.commands = []
        self.environs = []
        self._folder, self._ends = folder, ends
        monkeypatch.setattr(reproduction, "_relayed", self)

    def __call__(self, command, environ, log, heard):
        arguments = command[command.index("pneumo_cli") + 1 :]
        self.commands.append(arguments)
        self.environs.append(environ)
        task = log.stem
        code, reason = self._ends.get(task, (0, ""))
        for line in ("  epoch  val auc\n", "      0/2   0.5\n", "      2/2   0.9 best\n"):
            heard(line)
        if code == 0:
            write_run(self._folder, task, "run", epochs=2)
        return code, reason


def carried_out(folder, names=TASKS):
    with Reproduction(folder) as reproduction:
        return dict(reproduction.carry_out(names, lambda said: None))


def test_tasks_are_run_in_order_with_the_settings_of_the_plan(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    monkeypatch.setenv("PNEUMO_EPOCHS", "99")
    processes = Processes(monkeypatch, folder)
    outcomes = carried_out(folder)
    assert [outcome.state for outcome in outcomes.values()] == ["done"] * 3
    assert [command[:2] for command in processes.commands] == [["run", name] for name in TASKS]
    assert processes.commands[0][2:4] == ["--config", str(folder / "tasks" / "cnn.toml")]
    # What the environment says now has no say in a reproduction that was planned before.
    assert not any("PNEUMO_EPOCHS" in environ for environ in processes.environs)


def test_a_task_that_fails_does_not_lose_the_others_and_is_tried_again_by_the_next_call(
    tmp_path, monkeypatch
):
    folder = begun(tmp_path / "r")
    Processes(monkeypatch, folder, {"gan": (1, "the loss is NaN")})
    outcomes = carried_out(folder)
    assert [outcome.state for outcome in outcomes.values()] == ["done", "failed", "done"]
    assert outcomes["gan"].reason == "the loss is NaN"
    with Reproduction(folder) as reproduction:  # and it is known afterwards
        assert reproduction.outcome("gan").reason == "the loss is NaN"
    again = Processes(monkeypatch, folder)
    assert carried_out(folder)["gan"].state == "done"
    assert [command[1] for command in again.commands] == ["gan"]


def test_each_task_says_when_it_begins_and_its_epochs_move_a_bar(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    write_run(folder, "gan", epochs=2)
    write_run(folder, "autoencoder")
    Processes(monkeypatch, folder)
    said, stages = [], []

    class Bars(Progress):
        @contextmanager
        def stage(self, name, total, unit="images"):
            stages.append([name, total, unit])
            yield stages[-1].append

    with Reproduction(folder) as reproduction:
        list(reproduction.carry_out(TASKS, said.append, Bars()))
    assert said == ["1 of 3, cnn: begins", "3 of 3, autoencoder: goes on"]
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


def test_a_run_with_fewer_epochs_than_planned_is_not_taken_for_finished(tmp_path):
    folder = begun(tmp_path / "r")
    write_run(folder, "cnn", epochs=1)
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("cnn").state == "stopped"


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_anew(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    run = write_run(folder, "cnn", "early")
    (run / "checkpoints" / "last.pt").unlink()
    processes = Processes(monkeypatch, folder)
    carried_out(folder, ["cnn"])
    assert processes.commands[0][:2] == ["run", "cnn"]


def test_a_signal_stops_the_reproduction_and_says_how_to_go_on(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    processes = Processes(monkeypatch, folder, {"gan": (143, "")})
    with pytest.raises(Interrupted, match=re.escape(f"pneumo reproduce --output {folder}")) as caught:
        carried_out(folder)
    assert caught.value.exit_code == 143
    assert [command[1] for command in processes.commands] == ["cnn", "gan"]
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("gan").state == "waiting"  # nothing that failed


def test_a_task_that_cannot_be_run_is_an_empty_place_with_its_reason(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r", {"gan": "unknown trainer 'gan'"})
    processes = Processes(monkeypatch, folder)
    outcomes = carried_out(folder)
    assert (outcomes["gan"].state, outcomes["gan"].reason) == ("failed", "unknown trainer 'gan'")
    assert [command[1] for command in processes.commands] == ["cnn", "autoencoder"]


def test_the_process_of_a_call_that_was_killed_is_waited_for(tmp_path, monkeypatch):
    folder = begun(tmp_path / "r")
    run = write_run(folder, "cnn")
    processes = Processes(monkeypatch, folder)
    lock = RunFolder(run).lock()

    def finish():
        write_run(folder, "cnn", epochs=2)
        lock.close()

    timer = threading.Timer(0.2, finish)
    timer.start()
    said = []
    with Reproduction(folder) as reproduction:
        outcomes = dict(reproduction.carry_out(["cnn"], said.append))
    timer.join()
    assert outcomes["cnn"].state == "done"
    assert processes.commands == []
    assert said == [f"waiting for the process that is at {run}"]


def test_two_calls_cannot_be_at_one_folder(tmp_path):
    folder = begun(tmp_path / "r")
    with Reproduction(folder), pytest.raises(PneumoError, match="another process"):
        Reproduction(folder)
    Reproduction(folder).close()


def test_a_damaged_plan_is_one_line_and_leaves_the_folder_free(tmp_path):
    folder = begun(tmp_path / "r")
    (folder / "plan.json").write_text('{"tasks": 3}')
    for _ in range(2):
        with pytest.raises(PneumoError, match=r"the plan in .* is damaged"):
            Reproduction(folder)


def test_damaged_notes_on_failures_are_no_failure(tmp_path):
    folder = begun(tmp_path / "r")
    (folder / "outcomes.json").write_text("[1, 2")
    with Reproduction(folder) as reproduction:
        assert reproduction.outcome("cnn").state == "waiting"


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        is_begun(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        is_begun(tmp_path / "thesis.tex")
    assert not is_begun(tmp_path / "new")
    assert is_begun(begun(tmp_path / "r"))


def test_the_last_complaint_of_a_process_is_its_reason(tmp_path, capfd):
    code = "import sys; print('epoch 1'); print('pneumo: careful\\npneumo: no space', file=sys.stderr); sys.exit(1)"
    ended = reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", print)
    assert ended == (1, "no space")
    assert "epoch 1" in capfd.readouterr().err
    assert "careful" in (tmp_path / "log").read_text()


def test_a_signal_reaches_the_process_once_and_its_exit_code_comes_back(tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))\n"
        "print('ready', flush=True); time.sleep(20)"
    )
    log = tmp_path / "log"

    def strike():
        while not log.exists() or b"ready" not in log.read_bytes():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=strike, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    assert reproduction._relayed([sys.executable, "-c", code], os.environ, log, print) == (143, "")
    assert log.read_text().count("saved") == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_is_in_a_session_of_its_own_so_that_a_terminal_does_not_interrupt_it_twice(tmp_path):
    code = "import os; print(os.getsid(0) == os.getpid())"
    reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", print)
    assert (tmp_path / "log").read_text() == "True\n"


def test_a_process_that_was_killed_says_by_what(tmp_path):
    code = "import os; os.kill(os.getpid(), 9)"
    ended = reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", print)
    assert ended == (137, "its process was ended by SIGKILL")


@pytest.fixture
def with_tasks(install, tmp_path, monkeypatch, fake_site):
    """Two of the report's tasks are installed, for this process and those that it starts."""
    install("pneumo-tasks", {"tasks": "reproduced_tasks"}, {"reproduced_tasks": PLUGIN})
    here = Path(pneumo_cli.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, fake_site, tmp_path / "further"))))


# A third one, whose network cannot be had.
PICKY_PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="feature-extraction",
        summary="Stands for what begins with weights",
        trainer="picky:PickyTrainer",
        settings="pneumo_fake.settings:FakeSettings",
        kind="classifier",
        model="plain-net",
        presets=(
            Preset(name="source", summary="As published"),
            Preset(name="quick", summary="Another network", values={"model": "tiny-net", "image_size": 16}),
        ),
    )
"""
PICKY = """
from pneumo_cli.errors import UsageError
from pneumo_fake.trainers import FakeTrainer


class PickyTrainer(FakeTrainer):
    def check_request(self, entry):
        if entry.spec.name == "plain-net":
            raise UsageError("its weights could not be fetched")
"""


@pytest.fixture
def picky(with_tasks, install):
    """Three of the report's tasks are installed."""
    install("pneumo-picky", {"picky": "picky_plugin"}, {"picky_plugin": PICKY_PLUGIN, "picky": PICKY})
    return discover()


def plan_of(plugins, preset, fetch=True):
    return make_plan(plugins, source_report(), Request(preset, {"dataset": "tiny"}, fetch), Progress())


def test_a_network_that_cannot_be_had_is_replaced_by_the_one_for_small_machines_and_that_is_said(picky):
    task = plan_of(picky, "source").task("feature-extraction")
    assert task["settings"]["model"] == "tiny-net"
    assert task["settings"]["image_size"] == 32  # the rest of the recipe stays the report's
    assert task["source"]["model"] == "plain-net"
    assert task["replaced"] == (
        "plain-net was to be trained, but its weights could not be fetched. tiny-net takes its place."
    )
    quick = plan_of(picky, "quick").task("feature-extraction")
    assert (quick["settings"]["model"], quick["replaced"]) == ("tiny-net", "")


def test_nothing_is_fetched_for_a_look_at_the_plan(picky):
    task = plan_of(picky, "source", fetch=False).task("feature-extraction")
    assert (task["settings"]["model"], task["replaced"]) == ("plain-net", "")


def test_what_could_not_be_planned_is_planned_again_and_the_rest_stays(picky):
    plan = plan_of(picky, "quick")
    good = {task["name"]: dict(task) for task in plan.content["tasks"]}
    plan.content["tasks"][0] = planned("cnn", "not installed")
    settings = {name: text for name, text in plan.settings.items() if name != "cnn"}
    again = planned_again(Plan(plan.content, settings), picky, source_report(), Progress())
    assert again.task("cnn") == good["cnn"]
    assert again.settings == plan_of(picky, "quick").settings
    assert "comes with pneumo-autoencoder, which is not here" in again.task("autoencoder")["problem"]


def test_a_plan_counts_what_trains_and_knows_the_layers(picky):
    task = plan_of(picky, "quick").task("cnn")
    assert sum(task["images"].values()) == 48
    assert task["layers"]["here"]["rows"][0] == ["Conv2d-1", [8, 16, 16], 224]


@pytest.fixture
def without_trial(monkeypatch):
    monkeypatch.setattr("pneumo_reproduce.plan.estimate", lambda *arguments: None)


def test_a_dry_run_shows_the_plan_and_writes_nothing(with_tasks, without_trial, pneumo, fakes):
    shown = pneumo("reproduce", "--dry-run")
    assert shown.code == 0
    assert re.search(r"^cnn +tiny-net +32 px +\d+ +2 +not known", shown.stdout, re.M)
    assert "the trainer 'autoencoder' comes with pneumo-autoencoder" in shown.stdout
    assert list(fakes.iterdir()) == []


def test_a_look_at_some_tasks_plans_and_shows_these_alone(with_tasks, pneumo, monkeypatch):
    def estimate(plan, names, folder, told):
        for name in names:
            told(name)

    monkeypatch.setattr("pneumo_reproduce.plan.estimate", estimate)
    shown = pneumo("reproduce", "--dry-run", "--only", "cnn", "--json")
    assert shown.code == 0
    assert [task["name"] for task in json.loads(shown.stdout)["tasks"]] == ["cnn"]
    assert "timing 1 of 1, cnn" in shown.stderr
    both = pneumo("reproduce", "--dry-run")
    timed = [line for line in both.stderr.splitlines() if "timing" in line]
    assert timed == ["pneumo: timing 1 of 2, cnn", "pneumo: timing 2 of 2, gan"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "autoencoders"], "did you mean autoencoder?"),
        (["--preset", "quik"], "did you mean quick?"),
        (["--dataset", "tinny"], "did you mean tiny?"),
        (["--threads", "99999"], "threads"),
        (["--output", "file"], "file is not a folder"),
        (["--output", "/proc/new"], "cannot be written"),
    ],
)
def test_what_cannot_be_had_is_one_line(with_tasks, without_trial, pneumo, fakes, arguments, expected):
    (fakes / "file").touch()
    ended = pneumo("reproduce", *arguments)
    assert ended.code == 2
    assert expected in ended.stderr.splitlines()[-1]
    assert [path.name for path in fakes.iterdir()] == ["file"]


def test_settings_that_make_several_runs_of_a_task_are_refused(
    with_tasks, without_trial, pneumo, monkeypatch
):
    monkeypatch.setenv("PNEUMO_SEEDS", "3")
    ended = pneumo("reproduce")
    assert ended.code == 2
    assert "a reproduction is one of each" in ended.stderr


@pytest.mark.slow
def test_a_reproduction_that_was_killed_goes_on_to_the_same_bits(
    with_tasks, without_trial, pneumo, fakes, monkeypatch
):
    monkeypatch.setenv("SABOTAGE", "SIGKILL@step:2:2")
    folder = fakes / "mine"
    ended = pneumo("reproduce", "--only", "gan", "--output", str(folder), "--threads", "1")
    assert ended.code == 1
    assert "SIGKILL" in ended.stderr
    page = (folder / "report.html").read_text()
    assert "no result here: its process was ended by SIGKILL" in page
    monkeypatch.delenv("SABOTAGE")

    changed = pneumo("reproduce", "--output", str(folder), "--preset", "source")
    assert changed.code == 2
    assert "was begun with --preset quick" in changed.stderr

    ended = pneumo("reproduce", "--only", "gan", "--output", str(folder), "--json")
    assert ended.code == 0
    content = json.loads(ended.stdout)
    assert content["filled"] == 1
    assert len(list((folder / "tasks" / "gan").glob("*/run.toml"))) == 1

    monkeypatch.setenv("PNEUMO_THREADS", "1")
    assert pneumo("run", "gan", "--preset", "quick", "--output", str(fakes / "runs")).code == 0
    (whole,) = (fakes / "runs" / "gan").iterdir()
    (resumed,) = (folder / "tasks" / "gan").glob("*/")

    def results(run):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        predictions = (run / "predictions" / "test.csv").read_text()
        return [(row["train"], row["validation"]) for row in rows], predictions

    assert results(resumed) == results(whole)
    task = next(task for task in content["tasks"] if task["name"] == "gan")
    images = next(number for number in task["numbers"] if number["label"] == "Images")
    assert (images["report"], images["ours"]) == (3883, 36)


def test_the_source_report_has_its_five_tasks_in_order():
    assert source_report().names() == ["cnn", "feature-extraction", "fine-tuning", "gan", "autoencoder"]
