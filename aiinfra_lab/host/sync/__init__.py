"""The side of a sync that needs nothing of ours: a folder, and the loop by which another machine serves its own.

Copied to a machine that has Python 3.9 alone, and started there by `python3 -m NAME FOLDER`; the near side imports it.
Nothing is decided here: what is to be done comes from the near side, and is done unless what lies there is not what was
compared. No byte is overwritten that was not.
"""
