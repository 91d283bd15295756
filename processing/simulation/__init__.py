"""Cines that never existed, with the truth they were made from: numbers only, seeded, no DICOM.

In: a scene (bolus kinetics, vessels, probe, display) and a seed. Out: frames and the truth.
This room never imports a stage that measures: the truth stays independent.
"""
