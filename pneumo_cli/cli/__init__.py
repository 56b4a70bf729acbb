"""The command line: one thin module per group of commands. A command imports what it needs when it runs."""
