"""Models: lesion and vessel segmentation and the response class, trained on simulated cines and guarded.

In: maps from `processing`. Out: masks and probabilities with the identity and the state of the model that gave them.
This room never knows DICOM, the network or where a study came from. onnxruntime is spoken to in `session` only.
"""
