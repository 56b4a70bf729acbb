"""On a GPU: what a checkpoint has beside the weights is used on the CPU, by functions and commands alike."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def test_a_run_of_a_gpu_is_evaluated_and_predicts_there_and_on_the_cpu(
    library: ModuleType, fakes: Path
) -> None:
    result = library.run("fake", split="patient", device="cuda", progress=False)
    again = library.evaluate(result, on="validation", progress=False)
    assert again.metrics == pytest.approx(result.metrics["validation"], abs=1e-6)
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40), dtype=np.uint8)
    on_gpu = library.load(result, device="cuda", precision="fp32").predict(images, progress=False)
    on_cpu = library.load(result, device="cpu", precision="fp32").predict(images, progress=False)
    np.testing.assert_allclose(on_gpu.logits, on_cpu.logits, atol=1e-3)


def test_a_deleted_model_leaves_no_memory_on_the_gpu(library: ModuleType, fakes: Path) -> None:
    result = library.run("fake", split="patient", device="cuda", progress=False)
    before = torch.cuda.memory_allocated()
    model = library.load(result, device="cuda")
    model.predict(np.zeros((40, 40), np.uint8), progress=False)
    assert torch.cuda.memory_allocated() > before
    del model
    assert torch.cuda.memory_allocated() == before
