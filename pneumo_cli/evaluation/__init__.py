"""How good a result is: metrics of predictions. Knows nothing of runs, files or figures' looks."""
