"""pneumo plugin: torchvision's image classifiers."""
