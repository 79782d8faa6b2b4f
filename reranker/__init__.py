"""Scoring passages, training and judging models, keeping their versions, and the tabs for that."""
