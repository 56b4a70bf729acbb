"""The quality of generated images and reconstructions, with baselines."""
