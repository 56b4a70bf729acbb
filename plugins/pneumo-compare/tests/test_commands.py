"""``pneumo compare``: what it prints, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.runs.index import BUNDLE
from pneumo_cli.testing import Invocation
from pneumo_compare.comparison import compare_runs
from pneumo_compare.page import write_comparison
from pneumo_compare.result import check_target
from tests.inference.value_plugin import MODULE, PLUGIN

Pneumo = Callable[..., Invocation]
Write = Callable[..., Path]


def test_a_run_compared_with_itself_is_the_same_run_with_p_one(pneumo: Pneumo, a: Path) -> None:
    found = json.loads(pneumo("compare", a, a, "--json").stdout)
    (difference,) = found["differences"]
    assert difference["same_run"]
    assert difference["verdict"] == "fake a (2) and fake a (1) are the same run: no difference, p = 1."
    assert {(one["value"], one["p"], one["significant"]) for one in difference["metrics"].values()} == {
        (0, 1, False)
    }
    assert difference["delong"]["p"] == difference["mcnemar"]["accuracy"]["p"] == 1


def test_two_seeds_do_not_differ_and_only_the_seed_is_a_different_setting(
    pneumo: Pneumo, a: Path, b: Path
) -> None:
    ended = pneumo("compare", a, b)
    assert ended.code == 0
    assert "ROC AUC: no significant difference between fake seed 42 and fake seed 43: " in ended.stdout
    assert "DIFFERENT SETTINGS  A   B\nseed                42  43\n" in ended.stdout
    assert "They do not cover other seeds" in ended.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_the_tables_lose_no_line_in_an_encoding_without_their_dashes(
    encoding: str, pneumo: Pneumo, a: Path, b: Path
) -> None:
    ended, whole = pneumo("compare", a, b, encoding=encoding), pneumo("compare", a, b)
    assert (ended.code, ended.stderr) == (0, whole.stderr)
    assert ended.stdout.count("\n") == whole.stdout.count("\n")
    assert "B - A, the same patients" in ended.stdout  # a minus sign otherwise


def test_without_a_test_evaluation_the_error_names_the_split_that_can_be_compared(
    write_run: Write, pneumo: Pneumo, a: Path, tmp_path: Path
) -> None:
    not_tested = write_run(tmp_path / "fake" / "not-tested", 2)
    report = json.loads((not_tested / "report.json").read_text())
    del report["evaluations"]["test"]
    (not_tested / "report.json").write_text(json.dumps(report))
    ended = pneumo("compare", a, not_tested)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"pneumo: {not_tested} was not evaluated on its test images; compare on the validation images: "
        "--split validation\n"
    )
    ended = pneumo("compare", a, not_tested, "--split", "validation")
    assert ended.code == 0
    assert "Each run chose its best epoch" in ended.stdout


def test_an_exported_bundle_is_refused_since_it_has_no_results(
    write_run: Write, pneumo: Pneumo, a: Path, tmp_path: Path
) -> None:
    bundle = write_run(tmp_path / "bundle", 2)
    (bundle / "report.json").unlink()
    (bundle / BUNDLE).write_text("{}")
    for runs in ((bundle, bundle), (a, bundle)):
        ended = pneumo("compare", *runs)
        assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
        assert f"{bundle} is an exported bundle without results" in ended.stderr


def test_help_is_whole_in_a_narrow_terminal(pneumo: Pneumo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = pneumo("compare", "--help").stdout
    assert "--split" in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert "…," not in shown
    _, _, text = shown.partition("\n\n")  # what follows the line of usage
    assert not [line for line in text.splitlines() if line.endswith("...")]


def test_the_page_needs_no_other_file_and_overwrites_none(
    write_run: Write, pneumo: Pneumo, a: Path, b: Path, tmp_path: Path
) -> None:
    hostile = write_run(tmp_path / "fake" / "<script>", 3, trainer={"name": "<b>x</b>"})
    page = tmp_path / "new" / "compare.html"
    ended = pneumo("compare", a, b, hostile, "--out", page)
    assert ended.code == 0, ended.stderr
    assert f"the page is {page}" in ended.stderr
    html = page.read_text()
    assert html.count('src="data:image/') == 5  # ROC curves, differences of three pairs, training curves
    for text in ("3 runs compared", "no significant difference", "Caveats", "McNemar", "Holm"):
        assert text in html
    assert "Missing figure" not in html
    assert html.count("<script>") == 1  # its own
    assert "<b>x</b>" not in html
    ended = pneumo("compare", a, b, "--out", page)
    assert (ended.code, ended.stdout) == (2, "")
    assert "exists already" in ended.stderr
    assert page.read_text() == html
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert "is not empty" in pneumo("compare", a, b, "--out", tmp_path / "full").stderr
    ended = pneumo("compare", a, b, "--out", tmp_path / "full" / "mine.txt" / "deeper.html")
    assert ended.code == 2
    assert "cannot be written" in ended.stderr


def test_a_folder_gets_the_page_and_the_numbers(a: Path, b: Path, tmp_path: Path) -> None:
    found = compare_runs([a, b], resamples=50)
    page = write_comparison(found, tmp_path / "out")
    assert sorted(file.name for file in page.parent.iterdir()) == ["compare.html", "compare.json"]
    content = json.loads((page.parent / "compare.json").read_text())
    assert content["settings"]["seed"] == {"A": 42, "B": 43}
    difference = content["differences"][0]["metrics"]["accuracy"]
    assert difference["value"] == pytest.approx(
        content["runs"][1]["metrics"]["accuracy"] - content["runs"][0]["metrics"]["accuracy"]
    )


def test_a_name_with_another_file_suffix_is_refused(pneumo: Pneumo, a: Path, b: Path, tmp_path: Path) -> None:
    for name in ("x.pdf", "x.htm", "x.HTML", "x.json"):
        ended = pneumo("compare", a, b, "--out", tmp_path / name)
        assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
        assert "has the suffix of a file" in ended.stderr
        assert not (tmp_path / name).exists()
    check_target(tmp_path / "trial.v2")
    assert pneumo("compare", a, b, "--out", tmp_path / "lr-0.5").code == 0
    assert (tmp_path / "lr-0.5" / "compare.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "a comparison needs at least two runs"),
        (["a", "nowhere"], "there is no run folder nowhere"),
        (["a", "b", "--split", "train"], "--split is test or validation, not 'train'"),
    ],
)
def test_misuse_is_an_error_of_one_line(
    pneumo: Pneumo,
    a: Path,
    b: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(a.parent)
    ended = pneumo("compare", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"pneumo: {message}")


def test_runs_without_classes_are_shown_side_by_side_without_a_test(
    install: Callable[..., None], finished_run: Callable[..., Path], pneumo: Pneumo, fakes: Path
) -> None:
    install("pneumo-values", {"values": "values_plugin"}, {"values_plugin": PLUGIN, "values": MODULE})
    group = finished_run("number", "--seeds", 2, "--epochs", 1)
    runs = sorted((group / "members").iterdir())
    ended = pneumo("compare", *runs, "--out", "page.html")
    assert ended.code == 0, ended.stderr
    assert "On the test set, 16 images of 8 patients" in ended.stdout
    assert "They are not classifiers, so there are no paired tests" in ended.stdout
    assert "They are not classifiers, so there are no paired tests" in (fakes / "page.html").read_text()
    found = json.loads(pneumo("compare", *runs, "--json").stdout)
    assert (found["differences"], found["tests"]) == ([], {})
    ended = pneumo("compare", runs[0], group)
    assert (ended.code, len(ended.stderr.splitlines())) == (2, 1)
    assert "has no result of an ensemble, as its members are no classifiers" in ended.stderr
