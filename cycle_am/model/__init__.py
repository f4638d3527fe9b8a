"""A trained explainer without its training, and the model file that it travels in."""
