"""Starts ``pneumo`` in real processes without the time to import torch in each.

Imports the heavy libraries once, computes nothing (a fork must not inherit threads), and forks a child for each
request. Requests are JSON lines on stdin: the answer to ``{"start": …}`` is a process id, the one to
``{"wait": ID}`` its exit code, negative for the signal that killed it. With ``"script"`` the child runs a Python
file as Python does.
"""

import json
import os
import runpy
import site
import sys
import traceback

import matplotlib.backends.backend_agg
import pydantic_settings
import torch
import torchmetrics
import torchvision


def run_child(request):
    """Run ``pneumo ARGUMENTS`` in the requested folder and environment, with the requested streams."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    for number, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path[:0] = request["path"]
    for folder in request["path"]:
        site.addsitedir(folder)  # what pip has installed editable since the start
    dpi = int(sys.argv[1])  # of the figures in reports
    sys.argv = ["pneumo", *request["arguments"]]
    from pneumo_cli.cli.main import main
    from pneumo_cli.reports.figures import style

    style._DPI = dpi
    try:
        if request["script"]:
            runpy.run_path(request["script"], run_name="__main__")
        else:
            main()
    except SystemExit as end:
        return end.code or 0
    except BaseException as error:
        traceback.print_exc()
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                code = 70
                try:
                    code = run_child(request["start"])
                finally:
                    os._exit(code)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _ = (matplotlib.backends.backend_agg, pydantic_settings, torch, torchmetrics, torchvision)
    serve()
