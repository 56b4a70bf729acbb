"""The conformance suite: what every trainer, model and dataset plugin has to do, as tests to derive from.

A plugin's author writes one class per thing that is registered; pytest runs the inherited tests::

    from pneumo_cli.testing import ModelConformance, TrainerConformance

    class TestTrainer(TrainerConformance):
        name = "probe"

    class TestModel(ModelConformance):
        name = "tiny"

The plugin has to be installed, for it is found as ``pneumo`` finds it. Needs pytest; with
``pytest.register_assert_rewrite("pneumo_cli.testing")`` in ``conftest.py`` failures show their values.
Also here: the small dataset that the suite trains on, and :func:`invoke`, which runs the program inside the
test's process.
Not for what only one plugin promises: that belongs into its own tests.
"""

from pneumo_cli.testing.dataset_suite import DatasetConformance
from pneumo_cli.testing.datasets import SMALL, TINY, TinyDataset, installed_plugins
from pneumo_cli.testing.model_suite import ModelConformance
from pneumo_cli.testing.program import Invocation, invoke
from pneumo_cli.testing.trainer_suite import TrainerConformance

__all__ = [
    "SMALL",
    "TINY",
    "DatasetConformance",
    "Invocation",
    "ModelConformance",
    "TinyDataset",
    "TrainerConformance",
    "installed_plugins",
    "invoke",
]
