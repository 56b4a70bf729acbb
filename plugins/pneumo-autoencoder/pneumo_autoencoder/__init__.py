"""Task 5: autoencoders that compress radiographs and generate new ones (SOURCE 8)."""
