from pneumo_cli.errors import DataError as DataError
from pneumo_cli.errors import Interrupted as Interrupted
from pneumo_cli.errors import PneumoError as PneumoError
from pneumo_cli.errors import UnreadableImage as UnreadableImage
from pneumo_cli.errors import UsageError as UsageError
