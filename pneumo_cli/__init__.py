"""pneumo: a plugin-based task runner for deep learning on chest radiographs."""
