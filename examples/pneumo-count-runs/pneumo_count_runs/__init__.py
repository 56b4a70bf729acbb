"""Example of a third-party pneumo plugin: a command."""
