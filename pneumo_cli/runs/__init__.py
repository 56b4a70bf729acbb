"""A run and its folder: what is kept, found again, and known of it."""
