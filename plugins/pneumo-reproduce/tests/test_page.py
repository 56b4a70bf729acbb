"""The page that compares the source report's numbers with ours."""

import json
import re

import pytest

from pneumo_reproduce.page import write_reproduction
from pneumo_reproduce.plan import Plan
from pneumo_reproduce.reproduction import Reproduction, begin
from pneumo_reproduce.source_report import Number, source_report
from pneumo_reproduce.values import Ours, reports_value, verdict

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
SOURCE = source_report()
REPORTS = {"images": 5856, "tested": 624}
"""As many images as the report has."""


def planned(name, title):
    layers = {
        "model": "cnn",
        "input": [3, 256, 256],
        "layers": 2,
        "rows": [["Conv2d-1", [64, 256, 256], 1792], ["Linear-2", [1], 513]],
        "parameters": 4689729,
        "trainable": 4689729,
        "facts": {"Generator alone": "1,732,352 parameters"},
    }
    return {
        "name": name,
        "title": title,
        "trainer": name,
        "preset": "quick",
        "problem": "",
        "replaced": "",
        "settings": {"epochs": 2, "lr": 0.01, "image_size": 64, "seed": 1, "dataset": "tiny"},
        "source": {"epochs": 20, "lr": 0.01, "image_size": 256, "seed": 42, "dataset": "phantom"},
        "images": {"train": 30, "validation": 10},
        "layers": {"source": layers, "here": {**layers, "input": [3, 64, 64]}},
        "estimate": 90,
    }


def plan(synthetic=False, images=80, tested=None, **changes):
    tasks = [planned(task.name, task.title) for task in SOURCE.tasks]
    for name, change in changes.items():
        next(task for task in tasks if task["name"] == name.replace("_", "-")).update(change)
    tested = images // 2 if tested is None else tested
    pools = {"train": images - tested, "test": tested}
    counts = {pool: {"NORMAL": n // 2, "PNEUMONIA": n // 2} for pool, n in pools.items()}
    data = {
        "name": "tiny",
        "origin": "Noise.",
        "place": "memory",
        "synthetic": synthetic,
        "classes": ["NORMAL", "PNEUMONIA"],
        "counts": counts,
    }
    content = {
        "format": 1,
        "pneumo": "1.0",
        "made": "2026-11-24T10:00:00+00:00",
        "preset": "quick",
        "flags": {"dataset": "tiny"},
        "dataset": data,
        "tasks": tasks,
    }
    return Plan(content, {task["name"]: "" for task in tasks if not task["problem"]})


def classifier(accuracy=0.85, interval=(0.79, 0.9)):
    metrics = {"accuracy": accuracy, "precision": 0.9, "recall": 0.8, "f1": 0.847, "auc": 0.93}
    row = {"epoch": 0, "train": {"loss": 0.351}, "validation": {"loss": 0.362}, "learning_rate": 0.01}
    counts = {"NORMAL": 10, "PNEUMONIA": 20}
    return {
        "model": {"name": "some-net", "parameters": 77, "trainable": 7},
        "run": {"seconds": 61.0},
        "history": [row, {**row, "epoch": 1, "seconds": 6.0}, {**row, "epoch": 2, "seconds": 6.0}],
        "evaluations": {"test": metrics},
        "intervals": {"test": {"accuracy": list(interval)}},
        "figures": [{"file": "figures/roc-test.png", "caption": "A curve.", "group": "results"}],
        "dataset": {
            "split": {"policy": "patient", "rows": [{"split": "train", "counts": counts, "images": 30}]}
        },
        "caveats": [{"rule": "one-seed", "text": "One seed only."}],
    }


def generator():
    losses = [{"generator_loss": loss, "discriminator_loss": 1.2} for loss in (0.7, 0.9, 0.8, 1.1)]
    rows = [{"epoch": n, "train": loss, "validation": {}, "seconds": 3} for n, loss in enumerate(losses)]
    return {**classifier(), "evaluations": {}, "intervals": {}, "history": rows}


def written(tmp_path, reports, failed=None, **changes):
    """The contents of a page's three files."""
    folder = tmp_path / "r"
    begin(folder, plan(**changes))
    (folder / "outcomes.json").write_text(json.dumps(failed or {}))
    for name, report in reports.items():
        run = folder / "tasks" / name / "run"
        for part in ("figures", "samples"):
            (run / part).mkdir(parents=True)
        (run / "run.toml").touch()
        (run / "report.json").write_text(json.dumps(report))
        (run / "figures" / "roc-test.png").write_bytes(PNG)
        for epoch in range(4):
            (run / "samples" / f"epoch-{epoch:03}.png").write_bytes(PNG)
    with Reproduction(folder) as reproduction:
        content = write_reproduction(reproduction, SOURCE)
    return content, (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The page before anything has been run."""
    return written(tmp_path_factory.mktemp("empty"), {})


@pytest.fixture(scope="module")
def one_task(tmp_path_factory):
    """The page of one task that is done and one that failed."""
    return written(
        tmp_path_factory.mktemp("one"), {"cnn": classifier()}, failed={"gan": "the loss is <NaN>"}, **REPORTS
    )


def table_row(markdown, start):
    """The cells of the first row of a table with this first cell."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(markdown, title):
    return re.split(r"^## ", markdown.split(f"## {title}\n")[1], flags=re.M)[0]


def test_every_number_of_the_report_is_on_the_page_with_or_without_ours(empty):
    _, html, markdown = empty
    for task in SOURCE.tasks:
        own = section(markdown, task.title)
        for asked in (asked for group in task.groups for asked in group.numbers):
            label = re.escape(asked.label).replace("\\", "")
            assert label.split(" (")[0] in own.replace("\\", "")
    for value in ("0.8093", "0.7772", "0.8590", "4,689,729", "63,789,521", "52,564,657", "374.01", "0.3601"):
        assert value in html
    for row in SOURCE.others["rows"]:
        assert row[0].split(" (")[0] in html
    for task in SOURCE.tasks:
        assert f"{task.title} has no result here: it has not been run yet." in html


def test_our_value_is_compared_with_the_report_s_by_its_interval(one_task):
    content, _, markdown = one_task
    own = section(markdown, "Task 1: CNN from scratch")
    assert table_row(own, "Accuracy") == ["Accuracy", "0.8093", "0.850", "0.790–0.900", "agrees"]
    assert table_row(own, "Precision") == ["Precision", "0.7737", "0.900", "", ""]
    assert table_row(own, "Training loss") == ["Training loss", "0.3601", "0.3510"]
    assert content["filled"] == 1
    assert content["tasks"][0]["state"] == "done"


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((0.82, 0.9), "accuracy here is higher than the report's."),
        ((0.7, 0.8), "accuracy here is lower than the report's."),
        ((0.8, 0.82), "accuracy here does not differ significantly from the report's."),
    ],
)
def test_the_result_compares_by_the_interval_only(tmp_path, interval, word):
    _, html, _ = written(tmp_path, {"cnn": classifier(interval=interval)}, **REPORTS)
    assert word.replace("'", "&#39;") in html


@pytest.mark.parametrize("data", [{"images": 5216}, {"images": 5856, "tested": 1171}, {"synthetic": True}])
def test_on_other_images_than_the_report_s_nothing_is_compared(tmp_path, data):
    _, html, markdown = written(tmp_path, {"cnn": classifier(interval=(0.82, 0.9))}, **REPORTS | data)
    for words in ("accuracy here", "higher here", "lower here", "agrees"):
        assert words not in html
    assert "its numbers and ours are not comparable" in html
    row = table_row(section(markdown, "Task 1: CNN from scratch"), "Accuracy")
    assert row == ["Accuracy", "0.8093", "0.850", "0.820–0.900"]  # side by side


def test_a_failed_task_is_on_the_page_with_its_reason_and_the_others_have_results(one_task):
    content, html, _ = one_task
    assert "Task 4: GAN has no result here: the loss is &lt;NaN&gt;." in html
    assert [task["state"] for task in content["tasks"]] == ["done", "waiting", "waiting", "failed", "waiting"]
    assert "0.850" in html


def test_a_replaced_network_is_named(tmp_path):
    _, html, _ = written(tmp_path, {}, feature_extraction={"replaced": "small-net replaces it."})
    assert html.count("small-net replaces it.") == 2  # among the cautions, and at the task


def test_samples_are_of_the_first_a_middle_and_the_last_epoch_if_there_are_fewer_than_in_the_report(tmp_path):
    _, _, markdown = written(tmp_path, {"gan": generator()})
    own = section(markdown, "Task 4: GAN")
    shown = re.findall(r"samples/epoch-(\d+)\.png", own)
    assert shown == ["001", "002", "003"]
    assert "Epoch 3 of 3; the report shows 200." in own
    assert table_row(own, "Smallest mean generator loss")[2] == "0.8, in epoch 2"
    assert table_row(own, "Minutes per epoch")[2] == "0.05"


def test_a_figure_that_a_run_does_not_have_is_named(one_task):
    _, html, _ = one_task
    assert "Our run has no such figure." in html
    assert "Missing figure" not in html
    assert html.count("data:image/") >= 2  # the overview, and the one that is there


def test_settings_that_differ_are_listed_with_their_reason_and_others_are_not(empty):
    _, _, markdown = empty
    own = section(markdown, "What differs, and why")
    assert table_row(own, "Task 1")[1:4] == ["epochs", "20", "2"]
    assert "image\\_size" in own
    assert "| lr |" not in own
    assert "seed" not in own.split("What differs with every")[0]


def test_synthetic_data_are_named_and_not_compared_with_real_data(tmp_path):
    _, html, _ = written(tmp_path, {"cnn": classifier(interval=(0.82, 0.9))}, **REPORTS, synthetic=True)
    assert "Synthetic data" in html
    assert "accuracy here" not in html


def test_markup_in_the_texts_of_a_run_stays_text(tmp_path):
    report = classifier()
    report["model"]["name"] = "<script>alert(1)</script>"
    report["caveats"] = [{"text": "<img src=x>"}]
    report["history"] = "no list"
    report["intervals"] = {"test": {"accuracy": ["a", None]}}
    begun = {"cnn": {**report, "history": [None, 3, {}]}}
    _, html, _ = written(tmp_path, begun)
    assert "<script>alert" not in html
    assert "<img src=x>" not in html


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("report.evaluations.test.auc", 0.93),
        ("report.history.0.train.loss", 0.351),
        ("report.history.9.train.loss", None),
        ("report.absent.test", None),
        ("plan.layers.source.facts.Generator alone", "1,732,352 parameters"),
        ("derived.positive_weight", 0.5),
        ("elsewhere.x", None),
    ],
)
def test_values_are_found_by_their_paths(path, found):
    assert Ours(planned("cnn", "CNN"), classifier()).value(path) == found


def test_the_reports_digits_are_kept():
    assert reports_value(Number("F1", 0.895, metric="f1")) == "0.8950"
    assert reports_value(Number("Parameters", 4689729)) == "4,689,729"
    assert reports_value(Number("Seed", "42")) == "42"


def test_counts_are_equal_or_differ_and_metrics_without_an_interval_are_not_compared():
    assert verdict(Number("n", 30), 30) == "equal"
    assert verdict(Number("n", 30), 31) == "differs"
    assert verdict(Number("n", 30), None) == ""
    assert verdict(Number("MB", 374.01), 374.0104) == "equal"
    assert verdict(Number("Rate", "0.01"), 0.01) == "equal"
    assert verdict(Number("Rate", "0.01"), 0.02) == "differs"
    assert verdict(Number("Epochs", "not stated"), 3) == ""
    assert verdict(Number("Row", "Linear-30 [1] 513"), "Linear-30 [1] 513") == "equal"
    assert verdict(Number("F1", 0.8, metric="f1"), 0.8) == ""
    assert verdict(Number("F1", 0.8, metric="f1"), 0.85, (0.7, 0.9)) == "agrees"
    assert verdict(Number("F1", 0.8, metric="f1"), 0.95, (0.9, 0.97)) == "higher here"


def test_every_path_of_the_source_report_has_one_of_three_roots():
    paths = [n.ours for task in SOURCE.tasks for group in task.groups for n in group.numbers if n.ours]
    assert {path.partition(".")[0] for path in paths} == {"report", "plan", "derived"}


def test_the_source_reports_own_numbers_agree_with_one_another():
    numbers = {(t.name, n.label): n.value for t in SOURCE.tasks for g in t.groups for n in g.numbers}
    layers = [value for (task, label), value in numbers.items() if task == "autoencoder" and ", to " in label]
    assert len(layers) == 7
    assert sum(layers) == numbers["autoencoder", "Parameters"]
    rows = [[int(cell.replace(",", "")) for cell in row[1:4]] for row in SOURCE.data["rows"]]
    assert all(normal + pneumonia == images for normal, pneumonia, images in rows)
    assert sum(row[2] for row in rows) == SOURCE.data["images"]
    assert numbers["gan", "Images"] == 3106 + 777


def test_what_the_source_report_does_not_state_is_not_printed_as_its_fact():
    """The learning rates that were tried are not legible; Keras' accuracy and a parameter count are not printed."""
    numbers = {(t.name, n.label): n.value for t in SOURCE.tasks for g in t.groups for n in g.numbers}
    rates = {label for _, label in numbers if label.startswith("Learning rate")}
    assert not any(char.isdigit() for label in rates for char in label)
    assert numbers["autoencoder", "Keras 'accuracy', validation"] == "compiled in, no value printed"
    assert numbers["gan", "Discriminator (computed from its layers)"] == "1,705,985 parameters"
    notes = " ".join(group.note for task in SOURCE.tasks for group in task.groups)
    for fact in ("passes 0.3 as inplace and drops nothing", "some 5,000 epochs", "falling generator loss"):
        assert fact in notes
