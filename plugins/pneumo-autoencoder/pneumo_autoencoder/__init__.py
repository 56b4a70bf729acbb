"""pneumo plugin: autoencoders that compress radiographs, and draw new ones (SOURCE 8)."""
