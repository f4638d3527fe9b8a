"""Many trainings in one command: what a failed job leaves, studies of Optuna, their tables and pictures."""
