"""Loops over pixels and frames, compiled by numba: arrays in, arrays out, in pixels and frames, unchecked.

The stages of `processing` check, convert units once and call. This room never knows mm, seconds or a type of ours.
"""
