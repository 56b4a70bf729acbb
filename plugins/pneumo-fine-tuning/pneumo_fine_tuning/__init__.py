"""pneumo plugin: fine-tuning of a pre-trained network whose first part is frozen (SOURCE 6)."""
