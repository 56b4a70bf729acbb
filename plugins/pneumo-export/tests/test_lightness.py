"""What predicting with an exported model costs: no torch, the threads that were asked for, constant memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.runtime.threads import usable_cores
from pneumo_export.predictor import read_onnx

_HEAVY = ("torch", "torchvision", "matplotlib", "pydantic_settings", "scipy", "onnx")
_PREDICT = f"""
import sys
sys.argv[0] = "pneumo"
from pneumo_cli.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
for name in {_HEAVY}:
    assert name not in sys.modules, name
print(sys.modules["numpy"].__name__, file=sys.stderr)
"""
_PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "pneumo_cli", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_neither_torch_nor_another_heavy_library_is_imported(bundle: Path, graph: Path, images: Path) -> None:
    for model in (bundle, graph):
        for form in ("--json", "--csv"):
            done = subprocess.run(
                [sys.executable, "-c", _PREDICT, "predict", str(model), str(images), form],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert done.stderr.splitlines()[-1] == "numpy"
    assert "stripes.png" in done.stdout


def test_an_ensemble_of_two_graphs_needs_no_torch_either(bundle: Path, graph: Path, images: Path) -> None:
    """Which is refused here, as both are one model: the reason is found without torch, too."""
    arguments = ["predict", str(bundle), str(images), "--with", str(graph)]
    code = f"{_PREDICT.replace('assert not end.code, end.code', 'assert end.code == 2')}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "are the same model" in done.stderr


def test_the_session_has_the_threads_that_were_asked_for_or_one_per_core(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(**flags: int) -> int:
        return int(read_onnx(bundle, flags=flags).session.get_session_options().intra_op_num_threads)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads() == usable_cores()
    assert threads(threads=3) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads() == threads(threads=0) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # of nested parts
    assert threads() == 4
    for nonsense in ("0", "-1", "many", "99999999999"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert threads() == usable_cores()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(32, dtype=np.uint8), (32, 1))).save(tmp_path / "0.png")
    peaks = []
    for count in (200, 4000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"a-radiograph-with-a-long-name-{number:09}.png").symlink_to(tmp_path / "0.png")
        names = "\n".join(map(str, sorted(folder.iterdir())))
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, "predict", str(bundle), "-", "--json"],
            input=names,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        peaks.append(json.loads(done.stdout))
    assert peaks[1] < 1.08 * peaks[0], peaks
