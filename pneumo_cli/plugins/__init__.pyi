from pneumo_cli.plugins.discovery import Plugins as Plugins
from pneumo_cli.plugins.discovery import discover as discover
from pneumo_cli.plugins.requests import PredictorRequest as PredictorRequest
from pneumo_cli.plugins.tracker import Tracker as Tracker
