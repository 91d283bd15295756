"""What mends pynetdicom 3.0.4 for a hospital: small overrides, each with a test that fails on the stock class.

In: sockets. Out: negotiated associations whose C-STORE data sets went straight to an upload, or came from a file.
This room never knows what an object means, where it is kept, or who may call.
"""
