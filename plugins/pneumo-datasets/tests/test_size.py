"""An archive of the size of NIH ChestX-ray14 is listed, hashed and split within seconds and little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from many_images import write_many

_OPEN = """
import json, re, sys
from pathlib import Path
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.data.splits import split_records
from pneumo_cli.runtime.progress import Progress
from pneumo_datasets.archives import open_nih
from pneumo_datasets.table import open_dataset
root, cache = map(Path, sys.argv[1:])
opened = open_nih(DatasetRequest(root, cache, Progress()))
split = split_records(opened.records, "patient")
options = {"manifest": Path("Data_Entry_2017_v2020.csv")}
other = open_dataset(DatasetRequest(root, cache, Progress(), options))
# Not ru_maxrss, which begins with the memory of the process that started this one.
status = Path("/proc/self/status")
memory = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print(json.dumps({
    "records": [len(opened.records), len(other.records)],
    "validation": len(split.validation),
    "test": len(split.test),
    "MiB": int(memory[1]) / 2**10 if memory else 0,
}))
"""


@pytest.mark.slow
def test_112120_images_of_nih_and_of_a_table(tmp_path: Path) -> None:
    root = write_many(tmp_path / "root")
    command = [sys.executable, "-c", _OPEN, str(root), str(tmp_path / "cache")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["records"] == [112_120, 112_120]
    assert found["test"] == 22_424
    assert found["validation"] == pytest.approx(0.25 * (112_120 - 22_424), rel=0.02)
    assert found["MiB"] < 1000
