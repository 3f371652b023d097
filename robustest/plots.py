"""Figures of results, and pictures of a model's features, drawn by matplotlib: `robustest[plots]`."""

from __future__ import annotations

from robustest.claims.representations.feature_pictures import picture_features as picture_features
from robustest.claims.representations.feature_pictures import picture_inversions as picture_inversions
from robustest.reports.plots import plot_generalization as plot_generalization
from robustest.reports.plots import plot_severity as plot_severity
from robustest.reports.plots import plot_worst as plot_worst
