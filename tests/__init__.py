"""Scenes with an independent truth: closed form, slow oracle, the simulator's truth, another program's reading."""
