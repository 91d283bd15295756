"""Result objects: findings, structured report, pictures, segmentations.

In: findings, arrays and the source's header. Out: DICOM datasets, PNG pictures and JSON.
This room never knows the network, the clock or the workflow: times and identities are handed in.
"""
