"""Numbers, figures and one report over a test set."""
