"""The application around the library: the only part that knows Hydra's configuration."""
