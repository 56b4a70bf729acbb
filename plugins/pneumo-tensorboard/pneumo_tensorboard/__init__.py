"""TensorBoard for pneumo: an observer, off unless ``--with tensorboard`` asks for it."""
