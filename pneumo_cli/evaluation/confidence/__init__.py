"""Confidence intervals over patients, and the bootstrap that they come from."""
