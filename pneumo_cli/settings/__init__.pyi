from pneumo_cli.settings.recipes import STRONG as STRONG
from pneumo_cli.settings.schema import ClassificationSettings as ClassificationSettings
from pneumo_cli.settings.schema import DatasetSettings as DatasetSettings
from pneumo_cli.settings.schema import GenerativeSettings as GenerativeSettings
from pneumo_cli.settings.schema import MachineSettings as MachineSettings
from pneumo_cli.settings.schema import SplitPolicy as SplitPolicy
from pneumo_cli.settings.schema import TrainerSettings as TrainerSettings
from pneumo_cli.settings.schema import TransferSettings as TransferSettings
