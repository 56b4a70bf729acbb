"""Models that come with pneumo: torchvision's families, as an ordinary plugin on the public hooks."""
