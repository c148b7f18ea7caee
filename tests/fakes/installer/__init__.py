"""A directory for PATH whose `uv` installs from an index of its own, without a network.

Its environments are real ones, whose Python runs. It takes only the flags that the product may use, and refuses as uv
does what is not in its index, what contradicts, and what this Python is too old for. It adds a full disk, a process
that hangs until it is killed, and a log of what was asked. Whatever version it "installs", the code is that of our own
environment.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "bin"
OLD = "1.19.2"  # of onnxruntime
