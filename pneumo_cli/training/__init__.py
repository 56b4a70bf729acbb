"""Training: the loop (runner.py), saving and resuming, groups of runs, re-evaluation."""
