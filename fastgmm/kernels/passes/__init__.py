"""Passes over rows: the fused pass that collects statistics, the one that scores, and thin ones for authors."""
