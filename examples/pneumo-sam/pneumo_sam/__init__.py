"""Example of a third-party pneumo plugin: an extension that changes how any trainer's model is trained."""
