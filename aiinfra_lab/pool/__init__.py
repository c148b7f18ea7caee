"""The warm pool: one process for each user and interpreter that has imported what notebooks import, never computed,
and forks. A fork takes milliseconds where a kernel with torch takes seconds, and shares its memory with the others.

`python -m aiinfra_lab.pool` shows it, `stop` ends it, `install` writes the kernelspec `lab-python` for JupyterLab.
Whatever is odd, a process is spawned as without it.
"""
