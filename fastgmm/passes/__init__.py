"""Passes over rows: expectations and scores under a density, with or without skipping what does not matter."""
