"""Example of a third-party pneumo plugin: a file format of images."""
