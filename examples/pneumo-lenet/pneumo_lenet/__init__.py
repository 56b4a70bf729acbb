"""Example of a third-party pneumo plugin: a model and an observer."""
