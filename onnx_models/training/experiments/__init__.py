"""Experiments: what others published, repeated where it can be. In: simulated cohorts. Out: a JSON of figures.

Nothing of this ships in a model; the reading of the figures stands in docs/response-classification.md.
"""
