"""Bodies that come compressed: read up to a bound, so that a few bytes cannot become gigabytes."""

from __future__ import annotations

NAMES = {b"gzip": "gzip", b"x-gzip": "gzip", b"zstd": "zstd"}
SHOWN = ("gzip", "zstd")


def decode(body: bytes, encoding: bytes, most: int) -> bytes:
    """What is in the body, at most that many bytes of it. ValueError when it is damaged or does not end."""
    # When the first comes: its import takes as long as hundreds of requests, and most clients send plain JSON.
    import pyarrow as pa

    # The library takes nothing for something that is whole.
    if not body:
        raise ValueError("it is empty")
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), NAMES[encoding]) as stream:
            found: bytes = stream.read(most)
    except OSError as problem:
        raise ValueError(str(problem)) from None
    return found
