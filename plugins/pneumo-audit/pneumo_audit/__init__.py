"""Feature: leaks, structure and shift of a dataset and its split."""
