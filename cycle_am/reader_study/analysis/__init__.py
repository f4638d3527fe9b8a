"""From answers to conclusions."""
