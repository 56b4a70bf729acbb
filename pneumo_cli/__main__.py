"""The program's entry point: ``pneumo``, and ``python -m pneumo_cli``, which torchrun starts."""

import gc
import sys


def main() -> None:
    """Run the program; Ctrl-C during its imports ends it without a traceback."""
    gc.disable()  # a twentieth of the start-up, in which nothing becomes garbage; the program enables it
    try:
        from pneumo_cli.cli.main import main as program

        program()
    except KeyboardInterrupt:
        print("pneumo: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
