"""A command: pneumo --plugin rank_runs.py rank-runs --metric auc"""

from pathlib import Path

from pneumo_cli.api import hookimpl

api_version = 1


@hookimpl
def register_commands(app):
    @app.command()
    def rank_runs(folder: Path = Path("runs"), metric: str = "auc"):
        """List the runs below a folder by a metric of the test images."""
        from pneumo_cli.runs import find_runs

        found = {run.name: run.evaluations.get("test", {}).get(metric) for run in find_runs(folder)[0]}
        for value, name in sorted(((v, n) for n, v in found.items() if v is not None), reverse=True):
            print(f"{value:.4f}  {name}")
