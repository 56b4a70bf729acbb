"""Testing: what every trainer, model and dataset plugin has to do, as tests to derive from.

The author of a plugin writes one class per registered name; pytest runs the inherited tests::

    from pneumo_cli.testing import ModelConformance, TrainerConformance

    class TestTrainer(TrainerConformance):
        name = "probe"

    class TestModel(ModelConformance):
        name = "tiny"

The plugin has to be installed. Needs pytest; with ``pytest.register_assert_rewrite("pneumo_cli.testing")`` in
``conftest.py`` failures show their values. Also here: the small datasets that the suite trains on,
:func:`empty_workplace`, and :func:`invoke` and :func:`runner_of`, which run ``pneumo`` or one run in the test's
process. What a single plugin promises belongs in its own tests.
"""

from pneumo_cli.testing.dataset_suite import DatasetConformance
from pneumo_cli.testing.datasets import SMALL, TINY, TinyDataset
from pneumo_cli.testing.model_suite import ModelConformance
from pneumo_cli.testing.program import Invocation, invoke
from pneumo_cli.testing.trainer_suite import TrainerConformance
from pneumo_cli.testing.transfer import SMALL_NETWORK, write_weights
from pneumo_cli.testing.workplace import empty_workplace, installed_plugins, runner_of

__all__ = [
    "SMALL",
    "SMALL_NETWORK",
    "TINY",
    "DatasetConformance",
    "Invocation",
    "ModelConformance",
    "TinyDataset",
    "TrainerConformance",
    "empty_workplace",
    "installed_plugins",
    "invoke",
    "runner_of",
    "write_weights",
]
