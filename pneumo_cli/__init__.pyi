import typing

from pneumo_cli.errors import DataError as DataError
from pneumo_cli.errors import Interrupted as Interrupted
from pneumo_cli.errors import PneumoError as PneumoError
from pneumo_cli.errors import UnreadableImage as UnreadableImage
from pneumo_cli.errors import UsageError as UsageError
from pneumo_cli.training.estimate import Estimate as Estimate
from pneumo_cli.workflows.functions import estimate as estimate
from pneumo_cli.workflows.functions import evaluate as evaluate
from pneumo_cli.workflows.functions import resume as resume
from pneumo_cli.workflows.functions import run as run
from pneumo_cli.workflows.lists import datasets as datasets
from pneumo_cli.workflows.lists import extensions as extensions
from pneumo_cli.workflows.lists import models as models
from pneumo_cli.workflows.lists import presets as presets
from pneumo_cli.workflows.lists import settings as settings
from pneumo_cli.workflows.lists import trainers as trainers
from pneumo_cli.workflows.metric_values import Metric as Metric
from pneumo_cli.workflows.models import Model as Model
from pneumo_cli.workflows.models import load as load
from pneumo_cli.workflows.predictions import Predictions as Predictions
from pneumo_cli.workflows.registering import register as register
from pneumo_cli.workflows.report_view import Report as Report
from pneumo_cli.workflows.results import EvaluationResult as EvaluationResult
from pneumo_cli.workflows.results import RunResult as RunResult
from pneumo_cli.workflows.run_list import Runs as Runs
from pneumo_cli.workflows.run_list import runs as runs
from pneumo_cli.workflows.tables import Table as Table

__version__: str

def __getattr__(name: str) -> typing.Any: ...  # functions of plugins, such as compare
