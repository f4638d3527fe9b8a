"""Training of the classifier and of CycleAM: orchestration only."""
