"""Example of a third-party pneumo plugin: a dataset in a layout of its own."""
