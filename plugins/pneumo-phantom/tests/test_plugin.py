"""What discovery imports, and what the registered factory opens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from pneumo_cli.api import API_VERSION
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import load_reference
from pneumo_phantom.dataset import open_dataset
from pneumo_phantom.plugin import api_version, register_datasets
from pneumo_phantom.settings import PhantomSettings


def test_the_registered_factory_opens_the_dataset_without_a_root(tmp_path: Path) -> None:
    (spec,) = register_datasets()
    assert api_version == API_VERSION
    dataset = load_reference(spec.factory)(DatasetRequest(root=None, cache=tmp_path, progress=Progress()))
    assert dataset.name == spec.name == "phantom"
    assert dataset.synthetic
    assert spec.synthetic
    assert not spec.needs_root
    assert list(tmp_path.iterdir()) == []


def test_the_option_sets_the_size_of_the_training_pool(tmp_path: Path) -> None:
    request = DatasetRequest(None, tmp_path, Progress(), {"train_images": 1300})
    pools = Counter(record.pool for record in open_dataset(request).records)
    assert pools == {"train": 1300, "test": 300}
    with pytest.raises(ValidationError, match="greater than or equal to 1200"):
        PhantomSettings(train_images=1199)


def test_discovery_imports_no_numpy() -> None:
    script = "import sys; import pneumo_phantom.plugin; print('numpy' in sys.modules, 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["False", "False"]
