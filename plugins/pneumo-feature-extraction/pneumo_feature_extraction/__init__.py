"""Task 2: a new head on a frozen pre-trained network (SOURCE 5)."""
