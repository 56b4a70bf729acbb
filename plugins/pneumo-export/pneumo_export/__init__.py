"""pneumo plugin: exporting classifiers, and predicting with what was exported."""
