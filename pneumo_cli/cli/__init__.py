"""Command line: thin modules (main.py). A command imports what it needs when it runs."""
