"""Testing: what every plugin has to do, as tests to derive from.

The author of a plugin writes one class per registered name; pytest runs the inherited tests::

    from pneumo_cli.testing import ModelConformance, TrainerConformance

    class TestTrainer(TrainerConformance):
        name = "probe"

    class TestModel(ModelConformance):
        name = "tiny"

There is a suite for each kind of part; ``TrainerRunConformance`` tests further settings of a trainer. A test that
fails says which rule of the contract was broken, how, and how to mend it. ``pneumo check NAME`` runs the same tests
without a file.

The plugin has to be installed. Needs pytest: ``pip install 'pneumo-cli[testing]'``. Also here: the small datasets
that the suites train on, :func:`empty_workplace`, and :func:`invoke` and :func:`runner_of`, which run ``pneumo`` or
one run in the test's process. What a single plugin promises belongs in its own tests.
"""

from importlib.util import find_spec

from pneumo_cli.installation import pip_install

if find_spec("pytest") is None:
    raise ImportError(f"pneumo_cli.testing needs pytest: {pip_install('pneumo-cli[testing]')}")

from pneumo_cli.testing.command_suite import CommandConformance
from pneumo_cli.testing.contract import ContractBroken
from pneumo_cli.testing.data_suites import ExtractorConformance, SamplerConformance, SplitConformance
from pneumo_cli.testing.dataset_suite import DatasetConformance
from pneumo_cli.testing.datasets import SMALL, TINY, TinyDataset
from pneumo_cli.testing.decoder_suite import DecoderConformance
from pneumo_cli.testing.model_suite import ModelConformance
from pneumo_cli.testing.part_suite import ExtensionConformance, ObserverConformance
from pneumo_cli.testing.program import Invocation, invoke
from pneumo_cli.testing.trainer_suite import TrainerConformance, TrainerRunConformance
from pneumo_cli.testing.transfer import SMALL_NETWORK, write_weights
from pneumo_cli.testing.workplace import empty_workplace, installed_plugins, runner_of

__all__ = [
    "SMALL",
    "SMALL_NETWORK",
    "TINY",
    "CommandConformance",
    "ContractBroken",
    "DatasetConformance",
    "DecoderConformance",
    "ExtensionConformance",
    "ExtractorConformance",
    "Invocation",
    "ModelConformance",
    "ObserverConformance",
    "SamplerConformance",
    "SplitConformance",
    "TinyDataset",
    "TrainerConformance",
    "TrainerRunConformance",
    "empty_workplace",
    "installed_plugins",
    "invoke",
    "runner_of",
    "write_weights",
]
