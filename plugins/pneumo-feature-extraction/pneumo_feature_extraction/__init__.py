"""pneumo plugin: feature extraction, a new head on a frozen pre-trained network (SOURCE 5)."""
