"""Task 3: fine-tuning of a pre-trained network, its first layers frozen (SOURCE 6)."""
