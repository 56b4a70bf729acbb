"""pneumo plugin: generative adversarial networks that draw chest radiographs (SOURCE 7)."""
