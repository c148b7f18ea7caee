"""The host core: keeps a kernel on a machine that has Python and pyzmq, and nothing of ours.

These files are copied to such a machine as they are: they import the standard library, pyzmq and each other, and run on
Python 3.9. The other end, which keeps the record and the lease, is `kernels`.
"""
