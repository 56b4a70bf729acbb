"""Feature: torchvision's image classifiers."""
