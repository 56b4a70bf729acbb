"""An observer: pneumo run cnn --plugin journal.py"""

from pneumo_cli.api import hookimpl

api_version = 1


def write(line):
    with open("journal.txt", "a") as file:
        file.write(f"{line}\n")


@hookimpl
def run_finished(run, report):
    write(f"{run.folder.path.name} {report['evaluations'].get('test')}")


@hookimpl
def run_failed(run, error):
    write(f"{run.folder.path.name} {error!r}")
