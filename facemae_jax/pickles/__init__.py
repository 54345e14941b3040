"""Pickles read without running them: one machine and its operations; each kind of file has its vocabulary where it is read."""
