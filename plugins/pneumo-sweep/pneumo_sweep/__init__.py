"""Sweeps: a trainer with many settings, compared on the validation images (``pneumo sweep``)."""
