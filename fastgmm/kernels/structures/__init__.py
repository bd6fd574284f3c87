"""Structures of covariances: a class of density each, and the contract of their functions."""
