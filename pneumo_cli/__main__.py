"""Where the program begins: ``pneumo``, and ``python -m pneumo_cli``, which torchrun starts."""

import sys


def main() -> None:
    """Run the program; a Ctrl-C while it is still being imported ends it without a traceback."""
    try:
        from pneumo_cli.cli.main import main as program

        program()
    except KeyboardInterrupt:
        print("pneumo: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
