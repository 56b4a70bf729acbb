"""The program's entry point: ``pneumo``, and ``python -m pneumo_cli``, which torchrun starts."""

import gc
import sys


def main() -> None:
    """Run the program; Ctrl-C during its imports ends it without a traceback."""
    gc.disable()  # a twentieth of the start-up, in which nothing becomes garbage; the program enables it
    try:
        from pneumo_cli.runtime import load

        load.look()  # so that a run knows later which cores were busy while it started
        from pneumo_cli.cli.main import main as program

        program()
    except KeyboardInterrupt:
        print("pneumo: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()  # the interpreter looks for garbage when it ends: half a second, with torch loaded


if __name__ == "__main__":
    main()
