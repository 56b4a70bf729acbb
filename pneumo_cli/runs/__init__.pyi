from pneumo_cli.runs.checkpoints import Checkpoints as Checkpoints
from pneumo_cli.runs.folder import RunFolder as RunFolder
from pneumo_cli.runs.group_index import find_runs as find_runs
from pneumo_cli.runs.report_format import read_report as read_report
from pneumo_cli.runs.run import Monitor as Monitor
from pneumo_cli.runs.run import Run as Run
