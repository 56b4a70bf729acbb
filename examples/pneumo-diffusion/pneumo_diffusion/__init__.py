"""Example of a third-party pneumo plugin: a trainer of a new kind, denoising diffusion."""
