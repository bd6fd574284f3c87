"""Choosing a model, by a criterion or a test: how many components, of which family; and merging them to clusters."""

from __future__ import annotations

from fastgmm.selection.bootstrap import BootstrapTest, bootstrap_test
from fastgmm.selection.candidates import Candidate
from fastgmm.selection.estimator import GaussianMixtureIC
from fastgmm.selection.merging import Merged, merge_components

__all__ = ["BootstrapTest", "Candidate", "GaussianMixtureIC", "Merged", "bootstrap_test", "merge_components"]
