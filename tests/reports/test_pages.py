"""The HTML page and the Markdown file: complete, self-contained, unmoved by hostile or absent contents."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.evaluation.metric_names import in_order, metric_label
from pneumo_cli.reports.content import document
from pneumo_cli.reports.figures import training
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.images import inside
from pneumo_cli.reports.markdown import escaped, render_markdown

COUNTS = {"train": (1017, 2907, 2741), "validation": (332, 976, 913), "test": (234, 390, 428)}
VALUES = {"accuracy": 0.809, "precision": 0.774, "recall": 0.982, "f1": 0.866, "auc": 0.951, "loss": 0.3011}
HOSTILE = (
    "</style></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)> "
    "| {{ 7*7 }} `x` **b** [a](b)\n# H"
)


def full_report() -> dict[str, Any]:
    return {
        "format": 1,
        "title": "cnn on phantom",
        "pneumo": "0.2.0",
        "run": {
            "name": "2026-11-24-a1b2",
            "folder": "runs/cnn/2026-11-24-a1b2",
            "started": "2026-11-24T14:03:11+00:00",
            "finished": "2026-11-24T14:04:44+00:00",
            "seconds": 93.1,
            "resumed": 2,
        },
        "trainer": {"name": "cnn", "summary": "A CNN", "distribution": "pneumo-cnn", "version": "0.2.0"},
        "model": {"name": "cnn", "summary": "Four stages", "parameters": 4689729, "trainable": 4689729},
        "dataset": {
            "name": "phantom",
            "origin": "Drawn from anatomy.",
            "place": "drawn on demand",
            "synthetic": True,
            "fingerprint": "3f" * 32,
            "classes": ["NORMAL", "PNEUMONIA"],
            "images": 5856,
            "patients": 4082,
            "split": {
                "policy": "patient",
                "seed": 42,
                "fraction": 0.25,
                "rows": [
                    {
                        "split": name,
                        "counts": {"NORMAL": normal, "PNEUMONIA": ill},
                        "images": normal + ill,
                        "patients": patients,
                        "ratio": ill / normal,
                    }
                    for name, (normal, ill, patients) in COUNTS.items()
                ],
                "shared": [{"between": "train/validation", "patients": 0, "images": 0, "identical": 0}],
                "excluded": 0,
            },
            "unreadable": [],
        },
        "preset": "quick",
        "settings": [
            {"name": "epochs", "value": 3, "preset": 3, "default": 20, "origin": "preset", "help": "Passes"},
            {"name": "lr", "value": 0.002, "preset": 0.01, "default": 0.01, "origin": "flag", "help": "Rate"},
        ],
        "monitor": {"metric": "auc", "mode": "max", "epoch": 1, "value": 0.98},
        "history": [
            {
                "epoch": epoch,
                "train": dict(VALUES),
                "validation": dict(VALUES),
                "learning_rate": 0.01,
                "seconds": 12.3,
                "images_per_second": 61.0,
            }
            for epoch in range(2)
        ],
        "curves": ["accuracy", "loss", "precision", "recall", "f1"],
        "evaluations": {"validation": dict(VALUES), "test": dict(VALUES)},
        "summary": {
            "metrics": {"separation": 0.5},
            "tables": [
                {
                    "title": "Distance to real images",
                    "head": ["Images", "KID × 1000"],
                    "rows": [["generated", "12.3 ± 1.0"], ["noise", "310 ± 9"]],
                    "note": "In features of pixels.",
                }
            ],
            "notes": ["No copies were found."],
        },
        "figures": [
            {"file": "figures/loss.png", "caption": "Loss over epochs", "group": "training"},
            {"file": "samples/train.png", "caption": "A batch", "group": "samples"},
        ],
        "notices": ["Synthetic data: no patient is behind these images."],
        "environment": {
            "python": "3.11.9",
            "plugins": [{"name": "pneumo-cnn", "version": "0.2.0"}],
            "git": {"commit": None},
        },
        "reproduce": ["pneumo run cnn --config runs/cnn/2026-11-24-a1b2/run.toml"],
        "next": ["pneumo evaluate runs/cnn/2026-11-24-a1b2"],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for name in ("figures/loss.png", "samples/train.png"):
        (run / name).parent.mkdir(parents=True)
        save(training.curve([{"epoch": 0, "train": {"loss": 1.0}}], "loss"), run / name)
    return run


class Page(HTMLParser):
    """Checks that tags nest, and collects tags with their attributes, and the text."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def everywhere(value: Any, text: str) -> Any:
    """A copy of a report with its strings, class and metric names followed by ``text``."""
    if isinstance(value, dict):
        kept = ("file", "group", "mode", "started")  # what selects and addresses
        named = {"NORMAL", "PNEUMONIA", *VALUES}
        return {
            key + text if key in named else key: item if key in kept else everywhere(item, text)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [everywhere(item, text) for item in value]
    return value + text if isinstance(value, str) else value


def table_shapes(markdown: str) -> list[list[int]]:
    """Of each table of a Markdown text, the number of cells of each line."""
    tables, fresh = [], True
    for line in markdown.splitlines():
        if line.startswith("|"):
            if fresh:
                tables.append([])
            tables[-1].append(len(re.findall(r"(?<!\\)\|", line)) - 1)
        fresh = not line.startswith("|")
    return tables


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    page = Page(render_html(full_report(), folder))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert all(not name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    source = render_html(full_report(), folder)
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "url(" not in source


def test_figures_are_embedded_with_size_and_caption(folder: Path) -> None:
    page = Page(render_html(full_report(), folder))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Loss over epochs", "A batch"]
    assert all(image["width"] == "670" for image in images)


def test_figures_of_panels_scroll_on_a_narrow_screen_and_others_shrink(folder: Path) -> None:
    panels = training.curves([{"epoch": 0, "train": {"loss": 1.0}}], ["loss", "accuracy"])
    save(panels, folder / "figures" / "loss.png")
    page = Page(render_html(full_report(), folder))
    places = [place for place, (tag, _) in enumerate(page.tags) if tag == "img"]
    before = [page.tags[place - 1] for place in places]
    assert before[0] == ("div", {"class": "scroll", "tabindex": "0"})
    assert before[1][0] == "figure"


def test_names_of_files_and_patients_stay_in_one_piece_unless_they_are_long(folder: Path) -> None:
    long = "x" * 60
    report = full_report()
    rows = [
        {"name": name, "patient": "phantom-0066", "predicted": "two words"} for name in ("a/b-1.png", long)
    ]
    report["details"] = {"test": {"errors": {"rows": rows}}}
    source = render_html(report, folder)
    assert '<th scope="row" class="word">a/b-1.png</th><td class="word">phantom-0066</td>' in source
    assert f'<th scope="row">{long}</th>' in source
    assert "<td>two words</td>" in source


def settings_section(report: dict[str, Any]) -> tuple[Any, ...]:
    return next(part.blocks for part in document(report).sections if part.anchor == "settings")


def test_only_what_somebody_set_differs_from_the_preset_and_the_machine_is_no_part_of_it() -> None:
    report = full_report()
    report["settings"] += [
        {"name": "size", "value": 64, "preset": 224, "default": 224, "origin": "default", "help": ""},
        {"name": "output", "value": "/there", "preset": "runs", "default": "runs", "origin": "--output"},
        {"name": "threads", "value": 1, "preset": 0, "default": 0, "origin": "PNEUMO_THREADS", "help": ""},
    ]
    said, changed, kept, machine = settings_section(report)
    assert said.text == "1 setting differs from the preset quick."
    assert [row[0] for row in changed.rows] == ["lr"]
    assert [row[0] for row in kept.blocks[0].rows] == ["epochs", "size"]
    assert machine.title.startswith("The 2 settings of the machine")
    assert [row[0] for row in machine.blocks[0].rows] == ["output", "threads"]


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_reader_finds_what_was_done_on_what_and_how_good_it_is(render, folder: Path) -> None:
    source = render(full_report(), folder)
    text = Page(source).text if render is render_html else source
    for expected in (
        "Synthetic data: no patient is behind these images.",
        "no medical device",
        "24 November 2026, 14:03 UTC",
        "1 min 33 s",
        "resumed 2 times",
        "4,689,729 trainable parameters",
        "on 3,924 images of the synthetic dataset phantom",
        "On the test set, 624 images",
        "0.951",
        "1 : 2.86",
        "No patient and no identical image occurs in more than one split.",
        "1 setting differs from the preset quick",
        "pneumo-cnn 0.2.0",
        "pneumo run cnn --config runs/cnn/2026-11-24-a1b2/run.toml",
    ):
        assert expected in text, expected
    assert text.index("Synthetic data") < text.index("On the test set") < text.index("Setup")


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_leaks_and_unreadable_images_are_said(render, folder: Path) -> None:
    report = full_report()
    report["dataset"]["split"]["shared"][0].update(patients=12, images=40, near=3)
    report["dataset"]["unreadable"] = [{"name": "train/a|b.jpeg", "reason": "truncated"}]
    source = render(report, folder)
    assert "occur in more than one split" in source
    assert "Altered copies" in source
    assert "Identical pixels" not in source, "nobody looked for them"
    assert "1 image could not be read" in source
    assert "truncated" in source


def test_hostile_texts_stay_texts_in_the_page(folder: Path) -> None:
    honest = Page(render_html(full_report(), folder))
    hostile = Page(render_html(everywhere(full_report(), HOSTILE), folder))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in honest.tags]
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7*7 }}" in hostile.text


def test_hostile_texts_stay_texts_in_markdown(folder: Path) -> None:
    report = everywhere(full_report(), HOSTILE)
    report["reproduce"], report["next"] = ["echo '```'", "# no heading"], []
    source = render_markdown(report, folder)
    prose, code, _ = re.split(r"````(?:sh)?\n?", source)
    assert code == "echo '```'\n# no heading\n"
    outside = re.sub(r"</?details>|</?summary>", "", prose)
    assert "<" not in outside
    assert re.findall(r"^# ", prose, re.MULTILINE) == ["# "]
    assert [line for line in prose.splitlines() if line.startswith("#") and "alert" in line] == [
        prose.splitlines()[0]
    ]
    for shape in table_shapes(source):
        assert len(set(shape)) == 1


def test_every_line_of_a_markdown_table_has_as_many_cells_as_its_head(folder: Path) -> None:
    shapes = table_shapes(render_markdown(full_report(), folder))
    assert len(shapes) >= 7
    assert all(len(shape) >= 3 and len(set(shape)) == 1 for shape in shapes)


def test_markdown_links_figures_relative_to_the_run_folder(folder: Path) -> None:
    save(training.curve([], "loss"), folder / "figures" / "a b.png")
    report = full_report()
    report["figures"].append({"file": "figures/a b.png", "caption": "A [b]", "group": "results"})
    source = render_markdown(report, folder)
    assert "![Loss over epochs](figures/loss.png)" in source
    assert r"![A \[b\]](figures/a%20b.png)" in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_every_single_part_may_be_absent(render, folder: Path) -> None:
    for key in full_report():
        report = full_report()
        del report[key]
        assert render(report, folder)
    for key in full_report()["dataset"]:
        report = full_report()
        del report["dataset"][key]
        assert render(report, folder)
    assert "no medical device" in render({}, folder)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_null_values_are_dashes_and_no_table_says_none_or_nan(render, folder: Path) -> None:
    report = full_report()
    report["history"][0]["validation"] = {"accuracy": None, "loss": float("nan")}
    report["evaluations"]["test"]["precision"] = None
    report["environment"] = {}
    source = render(report, folder)
    assert "–" in source
    assert not re.search(r"\b(None|nan|NaN|Undefined)\b", re.sub(r"base64,[^\"]*", "", source))


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_task_with_metrics_of_its_own_is_reported_under_readable_names(render, folder: Path) -> None:
    report = full_report()
    report["evaluations"] = {"validation": {"frechet_distance": 41.23456}}
    report["history"] = [{"epoch": 1, "train": {"generator_loss": 0.7}}]
    report["curves"], report["monitor"] = ["generator_loss"], None
    source = render(report, folder)
    assert "Fréchet distance" in source
    assert "41.2346" in source
    assert "Generator loss" in source
    assert "On the validation set, 1,308 images" in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_judgement_stands_in_a_section_of_its_own(render, folder: Path) -> None:
    report = full_report()
    report["figures"].append({"file": "figures/loss.png", "caption": "Closest pairs", "group": "summary"})
    source = render(report, folder)
    text = Page(source).text if render is render_html else source
    places = [
        text.rindex(words)
        for words in (
            "How good are the images?",
            "No copies were found.",
            "Distance to real images",
            "12.3 ± 1.0",
            "In features of pixels.",
        )
    ]
    assert places == sorted(places)
    assert source.count("Closest pairs") == 2, "as the picture's words and below it, in one section only"
    assert places[-1] < text.index("Closest pairs") < text.rindex("Loss over epochs")


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_what_a_judgement_says_of_the_whole_comes_before_the_numbers_of_a_split(render, folder: Path) -> None:
    report = full_report()
    report["summary"]["metrics"] = {
        "kid_spread_efficientnet-lite0": 0.0011,
        "kid_noise_efficientnet-lite0": 0.3101,
        "frechet_efficientnet-lite0": 848.0,
        "diversity": 0.91,
        "kid_real_efficientnet-lite0": 0.0007,
        "kid_efficientnet-lite0": 0.0123,
        "copies": 0.0,
        "coverage": None,
    }
    page = document(report)
    assert page.headline_title == "How good are the images?"
    assert [(item.label, item.value) for item in page.headlines] == [
        ("KID × 1000 (efficientnet-lite0)", "12.3"),
        ("KID × 1000 of real images (efficientnet-lite0)", "0.7"),
        ("Copies", "0.000"),
        ("Diversity", "0.91"),
    ]
    assert all(item.meaning for item in page.headlines)
    assert "KID × 1000 (efficientnet-lite0)" in render(report, folder)


def test_numbers_that_a_judgement_only_compares_with_are_no_headlines() -> None:
    report = full_report()
    for metrics in ({"kid_noise_pixels": 0.3, "separation": 1.0}, {"kid_pixels": None}, {}):
        report["summary"]["metrics"] = metrics
        page = document(report)
        assert page.headline_title == "On the test set, 624 images"
        assert len(page.headlines) == 4


def test_rows_of_a_plugins_table_get_as_many_cells_as_its_head_has(folder: Path) -> None:
    report = full_report()
    report["summary"]["tables"] = [
        {"title": "Odd", "head": ["A", "B"], "rows": [["1"], ["1", "2", "three"], "text", None]},
        {"title": "Empty", "head": [], "rows": [["1"]]},
        "no table",
    ]
    source = render_markdown(report, folder)
    assert [2, 2, 2, 2, 2, 2] in table_shapes(source)
    assert "three" not in source
    assert "Empty" not in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_run_that_validates_nothing_is_told_by_its_training(render, folder: Path) -> None:
    report = full_report()
    for entry in report["history"]:
        entry["train"], entry["validation"] = {"generator_loss": 0.7011}, {}
    report["monitor"] = {
        "metric": "generator_loss",
        "mode": "min",
        "side": "train",
        "epoch": 1,
        "value": 0.7011,
    }
    report["curves"] = ["generator_loss", "kid"]
    report["evaluations"] = {"test": {"generator_loss": 0.8}}
    split = report["dataset"]["split"]
    split["policy"] = "all"
    split["rows"][1].update(counts={}, images=0, patients=0, ratio=None)
    source = render(report, folder)
    text = Page(source).text if render is render_html else source
    assert "it had the lowest training generator loss (0.7011)" in text
    assert "The metrics are those of training." in text
    assert "0.7011 / " not in text
    assert "none validates." in text
    assert "held out for validation" not in text


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_where_no_metric_chose_the_last_epoch_is_said_to_be_kept(render, folder: Path) -> None:
    report = full_report()
    report["monitor"] = {"metric": "", "mode": "min", "side": "train", "epoch": 1, "value": None}
    source = render(report, folder)
    assert "The state after epoch 1 was kept, the last one: no metric chose among the epochs." in source


def test_metrics_of_both_sides_are_pairs_and_those_of_one_say_of_which(folder: Path) -> None:
    report = full_report()
    for entry in report["history"]:
        entry["train"], entry["validation"] = {"loss": 0.5, "rate": 1.0}, {"loss": 0.6, "kid": 0.0123}
    report["curves"] = ["loss", "kid", "rate"]
    source = render_markdown(report, folder)
    assert "| Epoch | Loss | KID × 1000 (validation) | Rate (training) |" in source
    assert "| 0.5000 / 0.6000 | 12.3 | 1.0000 |" in source
    assert "Each pair is training / validation." in source


def test_a_distance_is_named_after_what_it_was_measured_with() -> None:
    for name, label in (
        ("kid_pixels", "KID × 1000 (pixels)"),
        ("kid_run-of_my_own", "KID × 1000 (run-of_my_own)"),
        ("kid_spread_pixels", "KID × 1000, spread (pixels)"),
        ("kid_real_efficientnet_b0", "KID × 1000 of real images (efficientnet_b0)"),
        ("frechet_spread_mean-image_pixels", "Fréchet distance of the mean image, spread (pixels)"),
        ("kid", "KID × 1000"),
        ("kidney_area", "Kidney area"),
    ):
        assert metric_label(name).label == label
        assert "FID" not in metric_label(name).label
    assert in_order(["x", "loss", "frechet_pixels", "kid_noise_pixels", "kid_pixels", "auc"]) == [
        "auc",
        "kid_pixels",
        "frechet_pixels",
        "loss",
        "x",
        "kid_noise_pixels",
    ]


def test_a_long_history_is_folded(folder: Path) -> None:
    report = full_report()
    report["history"] = [{**report["history"][0], "epoch": epoch} for epoch in range(201)]
    assert "All 201 epochs in numbers" in render_html(report, folder)
    assert render_markdown(report, folder).count("<details>") == render_markdown(report, folder).count(
        "</details>"
    )


def test_figures_outside_the_run_folder_or_of_another_kind_are_not_shown(
    folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / "figures/loss.png").read_bytes())
    (folder / "figures" / "link.png").symlink_to(secret)
    (folder / "figures" / "text.png").write_text("no picture")
    (folder / "figures" / "stub.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [
        "../secret.png",
        str(secret),
        "figures/link.png",
        "figures/text.png",
        "figures",
        "gone.png",
        "\0",
    ]
    assert all(inside(folder, name) is None for name in names)
    report = full_report()
    report["figures"] = [
        {"file": name, "caption": "x", "group": "results"} for name in [*names, "figures/stub.png"]
    ]
    page = Page(render_html(report, folder))
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.text.count("Missing figure") == len(names) + 1
    assert render_markdown(report, folder).count("Missing figure") >= len(names)


def test_rendering_changes_nothing_and_takes_what_json_gives_back(folder: Path) -> None:
    report = full_report()
    before = copy.deepcopy(report)
    page = render_html(report, folder)
    assert report == before
    assert render_html(json.loads(json.dumps(report)), folder) == page


def test_escaped_text_is_one_line_without_markup() -> None:
    assert escaped("a|b\n*c* <d> & `e`") == r"a\|b \*c\* &lt;d&gt; &amp; \`e\`"
