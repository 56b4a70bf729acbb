"""Segmentation: the lungs in a chest radiograph, on synthetic images."""
