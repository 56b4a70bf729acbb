"""``pneumo`` in a terminal of its own (a pseudo-terminal), of any width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import traceback


def in_terminal(width: int, *arguments: object) -> list[str]:
    """The lines that ``pneumo ARGUMENTS`` shows in a terminal, as they are printed.

    The command runs in a fork of this process, so it should compute nothing.
    """
    process, terminal = pty.fork()
    if process == 0:
        code = 70
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
            os.environ.pop("COLUMNS", None)
            sys.stdout, sys.stderr = open(1, "w", encoding="utf-8"), open(2, "w", encoding="utf-8")  # noqa: SIM115
            sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
            sys.argv = ["pneumo", *map(str, arguments)]
            from pneumo_cli.cli.main import main

            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the end, on Linux
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    os.waitpid(process, 0)
    return shown.decode().replace("\r\n", "\n").splitlines()
