"""Arithmetic on echo amplitudes, levels, panels and positions.

In: decoded frames and what is known of them (`processing.cine`). Out: frozen types with units in their names.
This room never knows DICOM, files, the clock, threads or who asks. Loops live in `processing.kernels`.
"""
