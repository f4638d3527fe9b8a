"""What is watched, kept and stopped while training."""
