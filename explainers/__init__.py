"""Every explainer behind one protocol (`explainers.base`), built by name (`explainers.build`)."""
