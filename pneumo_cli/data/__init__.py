"""From files to batches: records, splits, the decode-once cache, augmentation, the loader."""
