"""Where images come from: one batch contract, several sources."""
