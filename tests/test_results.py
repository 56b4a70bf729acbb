"""Results: the page is what the data files say, every entry is whole, and scripts write such entries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.recording import duration, sentence, shown, without_record
from tools.distributions import ROOT
from tools.results_page import TEMPLATE, entries, page

ENTRIES = entries()
EXAMPLES = ROOT / "examples"


def test_the_page_is_what_the_data_files_say() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert text == page(), "python -m tools.results_page > docs/results.md"


def test_every_entry_is_on_the_page_once() -> None:
    named = re.findall(
        r"^\[\[(?:entries|table): (.+)\]\]$", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(" ".join(named).split()) == sorted(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_was_run_when_where_and_what_was_seen(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.keys() >= {"what", "command", "says", "values", "commit", "version", "date", "machine"}
    assert re.fullmatch(r"[0-9a-f]{7,40}\+?", entry["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])
    assert entry["machine"].keys() >= {"processor", "cores", "gpu", "python", "torch"}
    assert entry["values"]
    assert sentence(entry)
    assert "/work" not in json.dumps(entry)
    assert "/home/" not in json.dumps(entry)
    for script in re.findall(r"python (\S+\.py)", entry["command"]):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("measure_*.py")), ids=lambda path: path.name)
def test_every_script_that_measures_writes_an_entry(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert "recording.add_option(parser)" in source
    assert "recording.write(" in source


def test_a_command_is_recorded_with_its_time_values_commit_and_machine_and_keeps_its_words(
    tmp_path: Path,
) -> None:
    file = tmp_path / "entry.json"
    program = "import json, sys; print(json.dumps({'found': [{'auc': float(sys.argv[1])}]}))"
    words = ("--what", "a trial", "--value", "auc=found.0.auc", "--value", "runs=found.#")
    words += ("--says", "AUC {auc:.3f} of {runs}")
    assert record(file, *words, "--", sys.executable, "-c", program, "0.9404").returncode == 0
    first = json.loads(file.read_text())
    assert (first["what"], sentence(first)) == ("a trial", "AUC 0.940 of 1")
    assert first["values"]["seconds"] >= 0
    assert first["machine"]["cores"] >= 1
    assert record(file, "--", sys.executable, "-c", program, "0.95").returncode == 0
    again = json.loads(file.read_text())
    assert (again["what"], sentence(again)) == ("a trial", "AUC 0.950 of 1")


def test_a_command_that_fails_or_lacks_a_value_changes_no_entry(tmp_path: Path) -> None:
    file = tmp_path / "entry.json"
    assert record(file, "--", sys.executable, "-c", "raise SystemExit(3)").returncode == 3
    missing = record(file, "--value", "auc=test.auc", "--", sys.executable, "-c", "print('{}')")
    assert missing.returncode == 1
    assert "there is no test.auc: nothing is recorded" in missing.stderr
    assert not file.exists()


def record(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "record.py"), str(file), *arguments]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent, env=environ)


def test_places_of_this_machine_are_not_recorded(tmp_path: Path) -> None:
    script = str(EXAMPLES / "record.py")
    line = shown(["python", script, str(tmp_path), "--data-root", str(tmp_path), "/", "out"])
    assert line == "python examples/record.py PATH --data-root PATH PATH2 out"
    assert (
        without_record(["a", "--record", "b", "c"]) == without_record(["a", "--record=b", "c"]) == ["a", "c"]
    )


def test_numbers_are_written_as_people_write_them() -> None:
    entry = {
        "says": "{seconds:time}, {least:.1e}, {images:,.0f}",
        "values": {"seconds": 456, "least": 4.8e-6},
    }
    entry["values"] |= {"images": 112_120}
    assert sentence(entry) == "7 min 36 s, 4.8e-6, 112,120"
    assert [duration(seconds) for seconds in (28, 119.6, 180)] == ["28 s", "120 s", "3 min"]
