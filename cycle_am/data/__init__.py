"""Images before a model sees them: files, cases, splits, augmentation; no Lightning."""
