"""Executes a notebook, and leaves an archive that is whole and right at every moment. Imported only for that.

The client is nbclient, so that cells, outputs and widgets are what JupyterLab and papermill make of them; the kernel is
one that a host core keeps, of which nothing is left however it ends. What the kernel's process itself writes, such as
complaints about being interrupted, reaches nobody, unless the process died: then it is all there is.
"""

from .lean import without

# jsonschema knows a format of addresses by it, which no notebook has: its grammar takes a third of all these imports.
with without("rfc3987_syntax"):
    from .running import execute

__all__ = ["execute"]
