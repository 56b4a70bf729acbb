"""A live page of runs: ``pneumo ui``."""
