"""The observers that come with the core. They use the public hooks and nothing else."""
