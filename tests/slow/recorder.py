"""`python recorder.py REPORT COMMAND…`: run a command where all addresses lead here, and write down which it wanted.

To be started in a network namespace of its own (`unshare --net`): there every packet, to whatever address and also a
name server's, goes to the loopback device, where this process reads it. Nothing answers. Unlike a look at Python's own
sockets this also hears libraries written in C, and grandchildren.
"""

import ipaddress
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

ETH_P_ALL = 3
DNS = 53
PATIENCE_S = 10
PROTOCOLS = {6: "tcp", 17: "udp"}


def describe(packet: bytes) -> str | None:
    """`tcp ADDRESS PORT` or `dns NAME` for a packet that wants out, None for all others."""
    if packet[0] >> 4 == 4:
        protocol, target, start = packet[9], ipaddress.ip_address(packet[16:20]), (packet[0] & 15) * 4
    else:
        protocol, target, start = packet[6], ipaddress.ip_address(packet[24:40]), 40
    if protocol not in PROTOCOLS:
        return None
    port = struct.unpack_from("!H", packet, start + 2)[0]
    if port == DNS and protocol == 17:
        return f"dns {_name(packet[start + 8 + 12 :])}"
    return None if target.is_loopback else f"{PROTOCOLS[protocol]} {target} {port}"


def _name(question: bytes) -> str:
    labels = []
    while question[0]:
        labels.append(question[1 : question[0] + 1].decode("ascii", "replace"))
        question = question[question[0] + 1 :]
    return ".".join(labels)


def listen(ear: socket.socket, heard: dict[str, int], ended: threading.Event) -> None:
    """Count what is wanted, until the command has ended and for a moment nothing more comes."""
    ear.settimeout(0.3)
    ended_at = None
    while ended_at is None or time.monotonic() - ended_at < PATIENCE_S:
        ended_at = ended_at or (time.monotonic() if ended.is_set() else None)
        try:
            words = describe(ear.recv(65536))
        except TimeoutError:
            if ended.is_set():
                return
            continue
        if words:
            heard[words] = heard.get(words, 0) + 1


def main(report: Path, command: list[str]) -> int:
    """The command's exit code."""
    for line in ("link set lo up", "route add local default dev lo", "-6 route add local ::/0 dev lo"):
        subprocess.run(["ip", *line.split()], check=True)
    heard: dict[str, int] = {}
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    ended = threading.Event()
    listener = threading.Thread(target=listen, args=(ear, heard, ended))
    listener.start()
    code = subprocess.run(command, check=False).returncode
    ended.set()
    listener.join()
    report.write_text(json.dumps(heard))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
