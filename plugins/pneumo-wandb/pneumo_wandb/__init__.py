"""Weights & Biases for pneumo: an observer, off unless ``--with wandb`` asks for it."""
