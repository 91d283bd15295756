"""The web role. In: the board, readiness and result folders, read from disk. Out: pages, /healthz, /readyz, /metrics.

This room never knows an association, a pixel or a patient's name, and runs no job; what a button asks for is written
into the ledger (`dicom_node.steering`) and done by the other roles.
"""
