"""``python -m pneumo_cli`` is ``pneumo``: what torchrun starts."""

from pneumo_cli.cli.main import main

main()
