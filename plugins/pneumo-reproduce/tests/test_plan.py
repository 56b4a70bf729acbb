"""The plan of a reproduction: resolved settings, replaced networks, problems."""

import tomllib

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.training.estimate import estimate_run
from pneumo_reproduce import plan as planning
from pneumo_reproduce.plan import Plan, Request, make_plan, planned_again
from pneumo_reproduce.source_report import source_report

OPTIONS = """
from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.settings import DatasetSettings
from pneumo_cli.testing import TinyDataset

api_version = 1


class Options(DatasetSettings):
    hospital: str = "north"


def open_dataset(request):
    dataset = TinyDataset("clinic")
    dataset.place = request.options["hospital"]
    return dataset


@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="clinic", summary="Noise", factory="clinics:open_dataset", settings="clinics:Options"
    )
"""


def plan_of(plugins, preset, fetch=True):
    return make_plan(plugins, source_report(), Request(preset, {"dataset": "tiny"}, fetch), Progress())


def test_a_network_that_is_not_available_is_replaced_by_the_one_for_small_machines_with_the_reason(picky):
    task = plan_of(picky, "source").task("feature-extraction")
    assert task["settings"]["model"] == "tiny-net"
    assert task["settings"]["image_size"] == 32  # otherwise the report's recipe
    assert task["source"]["model"] == "plain-net"
    assert task["replaced"] == (
        "plain-net cannot be trained here: its weights could not be fetched. tiny-net replaces it."
    )
    quick = plan_of(picky, "quick").task("feature-extraction")
    assert (quick["settings"]["model"], quick["replaced"]) == ("tiny-net", "")


def test_nothing_is_fetched_for_a_dry_run(picky):
    task = plan_of(picky, "source", fetch=False).task("feature-extraction")
    assert (task["settings"]["model"], task["replaced"]) == ("plain-net", "")


def test_what_could_not_be_planned_is_planned_again_and_the_rest_stays(picky):
    plan = plan_of(picky, "quick")
    planned = dict(plan.settings)
    good = {task["name"]: dict(task) for task in plan.content["tasks"]}
    plan.content["tasks"][0] = {
        "name": "cnn",
        "title": "Task cnn",
        "problem": "not installed",
        "replaced": "",
    }
    settings = {name: text for name, text in plan.settings.items() if name != "cnn"}
    again = planned_again(Plan(plan.content, settings), picky, source_report(), Progress())
    assert again.task("cnn") == good["cnn"]
    assert again.settings == planned
    assert "comes with pneumo-autoencoder, which is not installed" in again.task("autoencoder")["problem"]


def test_a_plan_has_the_number_of_images_and_the_layers(picky):
    task = plan_of(picky, "quick").task("cnn")
    assert sum(task["images"].values()) == 48
    assert task["layers"]["here"]["rows"][0] == ["Conv2d-1", [8, 16, 16], 224]


def test_the_time_of_a_task_is_the_price_of_its_run_and_a_task_that_cannot_be_timed_has_none(
    with_tasks, fakes, tmp_path, monkeypatch
):
    plugins, prices = discover(), []

    def priced(registries, resolved, progress):
        prices.append(estimate_run(registries, resolved, progress))
        return prices[-1]

    monkeypatch.setattr("pneumo_cli.training.estimate.estimate_run", priced)
    plan = plan_of(plugins, "quick")
    plan.write(tmp_path / "plan")
    (tmp_path / "plan" / "tasks" / "cnn.toml").write_text("trainer = ")
    before = sorted(fakes.rglob("*"))
    done = []
    planning.estimate(plan, plugins, ["cnn", "gan", "none"], tmp_path / "plan", done.append)
    assert done == ["cnn", "gan"]
    assert plan.task("cnn")["estimate"] is None
    assert plan.task("gan")["estimate"] == round(prices[0].seconds) > 0
    assert prices[0].trainer == "gan"
    assert sorted(fakes.rglob("*")) == before


def test_the_source_report_has_its_five_tasks_in_order():
    assert source_report().names() == ["cnn", "feature-extraction", "fine-tuning", "gan", "autoencoder"]


def test_the_options_of_the_dataset_reach_the_plan_and_every_run(with_tasks, install):
    install("pneumo-clinic", {"clinic": "clinics"}, {"clinics": OPTIONS})
    request = Request("quick", {"dataset": "clinic", "hospital": "south"}, fetch=False)
    plan = make_plan(discover(), source_report(), request, Progress())
    assert plan.content["dataset"]["place"] == "south"
    assert plan.content["flags"]["hospital"] == "south"
    assert plan.settings
    assert all('hospital = "south"' in settings for settings in plan.settings.values())


def test_the_trainers_of_a_reproduction_are_the_bundled_ones_whatever_else_has_their_names(install, fakes):
    source = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl
api_version = 1
@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="cnn", summary="One", trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_fake.settings:FakeSettings", kind="classifier", model="tiny-net",
        presets=(Preset(name="source", summary="As it is"), Preset(name="quick", summary="Quick")),
    )
"""
    for name in ("pneumo-a-rival", "pneumo-cnn"):
        module = f"trainer_of_{name.replace('-', '_')}"
        install(name, {module: module}, {module: source})
    plan = plan_of(discover(), "quick", fetch=False)
    assert plan.task("cnn")["trainer"] == "pneumo-cnn:cnn"
    written = tomllib.loads(plan.settings["cnn"])
    assert written["run"] == {
        "trainer": "pneumo-cnn:cnn",
        "model": "pneumo-fake:tiny-net",
        "dataset": "pneumo-fake:tiny",
    }
