"""Training: the loop, its batches and checkpoints, groups of runs, evaluating a run again."""
