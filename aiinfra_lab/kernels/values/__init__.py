"""Variables of one Python for another one, on another machine: packed into bytes there, and unpacked again.

Each goes by the form that is exact and ties the two sides least: plain values as what they are, numpy's arrays and
torch's tensors as type, shape and memory, tables as Arrow streams, and only the rest by cloudpickle, where arrays,
tensors and tables inside are still sent by their own form. What two variables share they share afterwards. Tensors
arrive in the memory of the host, since the other machine may have another accelerator or none.

`source()` is this folder as one text, for a machine that has nothing of ours: it imports the standard library only,
anything else when such a value is met, and holds for Python 3.10 and later. A pickle is code of whoever made it: it is
loaded only where the caller says so, and only by the versions that made it.
"""

from __future__ import annotations

from .needs import installed, mismatches
from .packing import Packed, pack
from .sent import source
from .unpacking import requirements, unpack

__all__ = ["Packed", "installed", "mismatches", "pack", "requirements", "source", "unpack"]
