"""Task 4: generative adversarial networks (SOURCE 7); train_step is in trainer.py."""
