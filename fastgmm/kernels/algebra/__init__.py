"""Small matrices and special functions."""
