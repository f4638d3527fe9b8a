"""Every explainer behind one protocol (`cycle_am.explainers.base`), built by name (`cycle_am.explainers.build`)."""
