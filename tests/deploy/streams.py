"""Arrow IPC streams, as clients send them."""

import pyarrow as pa

KIND = "content-type: application/vnd.apache.arrow.stream\r\n"


def stream(table: pa.Table, *, rows: int | None = None, **options: object) -> bytes:
    """A table as a stream. rows: of a batch. options: of `IpcWriteOptions`."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()
