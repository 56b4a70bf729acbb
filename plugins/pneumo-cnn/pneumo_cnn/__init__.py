"""Task 1: a convolutional network trained from scratch (SOURCE 3 and 4)."""
