"""The report of a group that generates images, and figures of several members."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.reports.figures.spread import side_by_side
from pneumo_cli.reports.group_report import FEW_MEMBERS, caveats_of, spread
from tests.training.comparison import only_run, report_of


@pytest.fixture(scope="module")
def generative(processes, tmp_path_factory) -> Path:
    """Two seeds of a trainer that generates images."""
    folder = tmp_path_factory.mktemp("generative")
    ended = processes.run(folder, "run", "painter", "--seeds", 2, "--epochs", 1)
    assert ended.code == 0, ended.stderr
    assert "ENSEMBLE" not in ended.stdout
    assert ended.stdout.splitlines()[1].startswith("whole  ")
    assert "The spread is over two runs, and says little" in ended.stdout
    return only_run(folder)


def test_distances_of_generated_images_are_reported_with_those_of_the_baselines(generative: Path) -> None:
    report = report_of(generative)
    own = [report_of(member)["summary"]["metrics"] for member in sorted((generative / "members").iterdir())]
    assert len(own) == 2
    for name in ("kid_pixels", "diversity"):
        mean = np.mean([metrics[name] for metrics in own])
        assert report["spread"]["whole"][name]["mean"] == pytest.approx(mean)
    noise = [metrics["kid_noise_pixels"] for metrics in own]
    assert report["baselines"]["kid_noise_pixels"]["mean"] == pytest.approx(np.mean(noise))
    assert not [name for name in report["baselines"] if "spread" in name or name in report["spread"]["whole"]]
    markdown = (generative / "report.md").read_text()
    for words in ("Image quality", "Baselines without training", "| KID × 1000 of noise (pixels) |"):
        assert words in markdown
    # A figure of one metric between 0 and 1 would show less than the table.
    assert not (generative / "figures" / "spread.png").exists()


def test_members_that_are_evaluated_one_by_one_are_one_test_set_access_of_their_group(
    generative: Path, count_accesses
) -> None:
    assert count_accesses(generative) == 1
    own = {report_of(member)["test_access"]["count"] for member in (generative / "members").iterdir()}
    assert {report_of(generative)["test_access"]["count"]} == own
    assert "Each member was evaluated on the test set" in (generative / "report.md").read_text()


def test_images_that_the_members_generated_in_their_selected_epochs_are_shown_side_by_side(
    generative: Path, pneumo, tmp_path: Path
) -> None:
    group = tmp_path / "group"
    shutil.copytree(generative, group)
    for member in report_of(group)["members"]:
        samples = group / member["folder"] / "samples"
        Image.new("L", (40, 40), 128).save(samples / f"epoch-{member['epoch']:03}.png")
    (group / "report.json").unlink()
    assert pneumo("resume", group).code == 0
    (figure,) = (figure for figure in report_of(group)["figures"] if figure["group"] == "samples")
    assert (group / figure["file"]).is_file()
    markdown = (group / "report.md").read_text()
    assert figure["caption"] in markdown
    assert "Missing figure" not in markdown


def test_images_of_several_runs_are_shown_in_their_order_and_a_damaged_one_is_left_blank(
    tmp_path: Path,
) -> None:
    for number in range(4):
        Image.fromarray(np.full((20, 30), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    figure = side_by_side({f"run {number}": tmp_path / f"{number}.png" for number in range(4)})
    assert [axes.get_title() for axes in figure.axes] == ["run 0", "run 1", "run 2", "run 3", "", ""]
    shown = [axes.images[0].get_array().max() if axes.images else None for axes in figure.axes]
    assert shown == [0, None, 120, 180, None, None]
    with pytest.raises(ValueError, match="at least one"):
        side_by_side({})


def test_the_spread_of_one_member_has_no_standard_deviation() -> None:
    assert spread({"a": {"test": {"auc": 0.5}}})["test"]["auc"]["sd"] is None


@pytest.mark.parametrize(
    ("finished", "seeds", "words"),
    [
        (2, [1, 2], "over two runs, and says little: .* thirty times as large .* --seeds 5 would say more"),
        (2, [1], "More folds or seeds would say more"),
        (3, [1, 2, 3], "over three runs, a rough estimate: .* or six times as large"),
        (4, [1, 2, 3, 4], ""),
        (1, [1, 2], ""),
    ],
)
def test_a_spread_over_two_or_three_runs_is_said_to_say_little(finished, seeds, words) -> None:
    members = [{"state": "finished"}] * finished + [{"state": "failed"}]
    found = [
        rule["text"]
        for rule in caveats_of({"members": members, "seeds": seeds}, {})
        if rule["rule"] == FEW_MEMBERS
    ]
    assert len(found) == bool(words)
    assert not words or re.search(words, found[0])


def test_the_page_of_two_members_warns_in_its_caveats(generative: Path) -> None:
    assert "The spread is over two runs, and says little" in (generative / "report.md").read_text()
