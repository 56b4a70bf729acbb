"""What has nothing to do with images: files that survive, seeds, devices, processes, signals, threads, progress."""
