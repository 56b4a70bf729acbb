"""An example of a third-party pneumo plugin."""
