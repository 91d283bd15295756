"""How the shipped models came about (extra `train`): cohorts in, ONNX with manifest, card and metrics out.

Knows both simulators, torch and onnx; nothing at run time imports this room.
"""
