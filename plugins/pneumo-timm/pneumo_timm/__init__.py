"""Feature: timm's image classifiers."""
