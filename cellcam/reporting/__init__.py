"""One look for everything that people read about a run."""
