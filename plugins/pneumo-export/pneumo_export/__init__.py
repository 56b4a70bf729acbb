"""Feature: exporting classifiers, and predicting with exported ones."""
