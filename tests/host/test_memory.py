"""How much a host core holds of what its kernel puts out: bytes are counted, and no time."""

import json
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

from aiinfra_lab.host.journal import Journal
from aiinfra_lab.host.stream import Stream

MEGABYTE = 1 << 20
# Publishes a little, and once that was read a flood, all of it at once.
KERNEL = """
import json, os, sys, time, zmq
info = json.loads(open(sys.argv[1]).read())
out = zmq.Context().socket(zmq.XPUB)
out.sndhwm = 0
out.bind(f"ipc://{info['ip']}-{info['iopub_port']}")
out.recv()
for n in range(10): out.send_multipart([b'stream', bytes(1 << 20)], copy=False)
while not os.path.exists('flood'): time.sleep(0.01)
for n in range(200): out.send_multipart([b'stream', bytes(1 << 20)], copy=False)
open('sent', 'w').close()
time.sleep(600)
"""
READER = """
import json, re, sys, time, zmq
from pathlib import Path
from aiinfra_lab.host.frames import MessageChannel
from aiinfra_lab.host.kernel import Kernel
from aiinfra_lab.host.spec import HostSpec

def held_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

def read(count):
    found = 0
    while found < count:
        found += sum(1 for _ in kernel.receive(MessageChannel.IOPUB))

folder = Path.cwd()
spec = HostSpec(str(folder), [sys.executable, "kernel.py", "{connection_file}"], str(folder), {}, "key")
kernel = Kernel(spec, folder, 1, zmq.Context())
read(10)
before = held_mib()
Path("flood").touch()
while not Path("sent").exists(): time.sleep(0.05)
last = -1.0
while held_mib() != last:  # nothing comes any more
    last = held_mib()
    time.sleep(1.0)
print(json.dumps(last - before))
read(200)
kernel.signal(9)
kernel.process.wait()
"""


def test_a_flood_that_nobody_reads_waits_with_the_kernel(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    done = subprocess.run(
        [sys.executable, "-c", READER],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 40  # MiB, of 200; all of it was read afterwards


def test_what_is_empty_is_in_nobodys_way(tmp_path):
    journal = Journal(tmp_path / "journal")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = Stream(ours.fileno(), ours.fileno(), lambda: None)
        stream.go_on_after(0)
        stream.put_later(lambda: b"")  # a piece of a file that nobody wants any more
        stream.send(journal)
        parts = (b"", bytes(MEGABYTE >> 4), b"")  # of a message whose middle alone is large
        stream.pass_on(journal.append(*parts), *parts)
        stream.send(journal)
        assert not stream.is_behind(journal)
        assert theirs.recv(1 << 20)


def test_a_record_is_passed_on_as_it_is_and_a_turn_ends_though_the_owner_takes_all(tmp_path):
    journal = Journal(tmp_path / "journal")
    null = os.open(os.devnull, os.O_WRONLY)
    stream = Stream(null, null, lambda: None)
    stream.go_on_after(0)
    parts = (bytes(10), bytes(MEGABYTE))
    tracemalloc.start()
    try:
        for _ in range(30):
            stream.pass_on(journal.append(*parts), *parts)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * MEGABYTE  # the parts are held by whoever made them
        while stream.is_behind(journal):
            sent = stream.sent
            stream.send(journal)
            assert stream.sent - sent < 10
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE  # two files of the journal, and no more
    finally:
        tracemalloc.stop()
        os.close(null)
    assert stream.sent == 30
