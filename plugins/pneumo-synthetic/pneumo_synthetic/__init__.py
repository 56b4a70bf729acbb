"""pneumo plugin: generated images, and how good they are."""
