"""What a Slurm cluster has: its partitions, and the GPUs (`gres`) of their nodes, as `sinfo` lists them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..cost import accelerators
from ..units import show_duration
from . import driver
from .base import Offer
from .slurm_client import SlurmClient, duration_s

# Fields of a width, since what is longer is cut and no separator can be had on every version.
_FIELDS = {
    "Partition": 64,
    "Available": 8,
    "NodeList": 64,
    "StateLong": 24,
    "Gres": 240,
    "GresUsed": 240,
    "CPUsState": 32,
    "Time": 24,
    "PreemptMode": 24,
    "PriorityTier": 12,
}
_USABLE = ("idle", "mixed", "allocated", "completing", "planned")
_GRES = re.compile(r"\bgpu:(?:([^:,()]+):)?(\d+)")
_CPU = ""  # where others have the type of their GPUs


class PartitionNode(NamedTuple):
    """A node as a member of a partition. gpus: by type, how many it has and how many of those are free."""

    partition: str
    name: str
    gpus: dict[str, tuple[int, int]]
    free_cpus: int
    limit_s: float | None
    preempt: str
    tier: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class _Pool:
    """The nodes of a partition that have one kind of GPU, or all of them for the processor alone."""

    partition: str
    kind: str
    nodes: Sequence[PartitionNode]

    @property
    def largest(self) -> int:
        return max(node.gpus[self.kind][0] for node in self.nodes)

    def free(self, count: int) -> tuple[int, int]:
        """How many of them are free where so many can be had on one node, and how many there are."""
        if self.kind == _CPU:
            return sum(node.free_cpus > 0 for node in self.nodes), len(self.nodes)
        counts = [node.gpus[self.kind] for node in self.nodes]
        return sum(free for _, free in counts if free >= count), sum(has for has, _ in counts)


class Limited(NamedTuple):
    """What a partition wants of a job: one of these accounts, and one of these qualities of service; None for any."""

    accounts: frozenset[str] | None
    without: frozenset[str]
    qos: frozenset[str] | None

    def takes(self, account: str, qos: str) -> bool:
        is_in = self.accounts is None or account in self.accounts
        return is_in and account not in self.without and (self.qos is None or qos in self.qos)


def limits(client: SlurmClient) -> dict[str, Limited]:
    """By partition."""
    lines = client.ask("scontrol", "--oneliner", "show", "partition").splitlines()
    fields = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return {
        each["PartitionName"]: Limited(
            _listed(each.get("AllowAccounts")),
            _listed(each.get("DenyAccounts")) or frozenset(),
            _listed(each.get("AllowQos")),
        )
        for each in fields
        if "PartitionName" in each
    }


def _listed(text: str | None) -> frozenset[str] | None:
    return None if text in (None, "", "ALL", "(null)", "N/A") else frozenset(str(text).split(","))


def nodes(client: SlurmClient) -> list[PartitionNode]:
    """Every usable node of every partition that is up."""
    form = ",".join(f"{name}:{width}" for name, width in _FIELDS.items())
    printed = client.ask("sinfo", "--noheader", "--Node", f"--Format={form}")
    return [node for line in printed.splitlines() if (node := _node(_cut(line))) is not None]


def offers(found: Sequence[PartitionNode], wanted: str, *, named: str, usd_per_hour: float) -> list[Offer]:
    """What they can give, the cheapest first; of one price what is free, and what the default partition has.

    named: what GPUs are whose type says nothing
    """
    listed = [
        offer
        for pool in sorted(_pools(found), key=lambda pool: not pool.nodes[0].is_default)
        for offer in _offers(pool, wanted, named, usd_per_hour, is_spot=_may_be_preempted(pool.nodes[0], found))
    ]
    return sorted(listed, key=lambda offer: (offer.usd_per_hour, offer.note.startswith("0 "), offer.count))


def accelerator_name(kind: str, wanted: str, named: str) -> tuple[str, str]:
    """The name of a type of GPUs as people ask for it, and what has to be known about that.

    >>> accelerator_name("nvidia_a100-sxm4-80gb", "", ""), accelerator_name("a100_1g.10gb", "", "")
    (('A100-SXM4-80GB', ''), ('A100-1g.10gb', ''))
    """
    profile = accelerators.profile_of(kind)
    parts = [part for part in re.split("[-_ ]+", driver.short_name(kind.replace("_", " "))) if part.lower() != profile]
    name, note = "-".join(parts).upper(), ""
    if not name:
        asked = [one.name for one in accelerators.alternatives(wanted) if one.profile == profile and one.name]
        name = named or next(iter(asked), "GPU" if not profile else "")
        note = f"the cluster does not say that it is of {name}" if asked and not named else ""
    return "-".join(filter(None, (name, profile))), note


def _offers(pool: _Pool, wanted: str, named: str, usd_per_hour: float, *, is_spot: bool) -> Iterator[Offer]:
    name, unknown = ("cpu", "") if pool.kind == _CPU else accelerator_name(pool.kind, wanted, named)
    for count in [1] if pool.kind == _CPU else sorted(set(_counts(name, wanted, pool.largest))):
        free, total = pool.free(count)
        things = f"{total} nodes" if pool.kind == _CPU else f"{total}"
        limit = pool.nodes[0].limit_s
        notes = [
            f"{free} of {things} free" + ("" if free else ": it waits in the queue"),
            f"{show_duration(limit)} at most" if limit is not None else "",
            "another job may take its place" if is_spot else "",
            unknown,
        ]
        gres = "" if pool.kind == _CPU else ":".join(filter(None, ("gpu", pool.kind.strip("*"), str(count))))
        yield Offer(
            name,
            usd_per_hour * count,
            _memory_gib(name),
            device=f"{pool.partition}/{gres}",
            spot=is_spot,
            type=gres or "cpu",
            where=pool.partition,
            count=float(count),
            note="; ".join(filter(None, notes)),
        )


def _counts(name: str, wanted: str, largest: int) -> Iterator[int]:
    """How many of them are asked for; all that one might, where nothing was."""
    needs = [one.needs(name) for one in accelerators.alternatives(wanted)]
    asked = [math.ceil(each) for each in needs if each is not None]
    if asked:
        return (count for count in asked if count <= largest)
    return iter([largest, *(2**power for power in range(largest.bit_length()))])


def _pools(found: Sequence[PartitionNode]) -> Iterator[_Pool]:
    members: dict[tuple[str, str], list[PartitionNode]] = defaultdict(list)
    for node in found:
        for kind in [_CPU, *node.gpus]:
            members[node.partition, kind].append(node)
    for (partition, kind), its in members.items():
        yield _Pool(partition, kind, its)


def _may_be_preempted(node: PartitionNode, found: Sequence[PartitionNode]) -> bool:
    """Whether jobs of a partition that goes before its own end those on the same nodes."""
    if node.preempt.lower() not in ("cancel", "requeue"):
        return False
    shared = {each.name for each in found if each.partition == node.partition}
    return any(each.tier > node.tier and each.name in shared for each in found)


def _memory_gib(name: str) -> float | None:
    known = accelerators.spec(name)
    if known is None:
        return None
    profile = known.profile(accelerators.profile_of(name))
    return profile.memory_gib if profile else known.memory_gib


def _cut(line: str) -> dict[str, str]:
    fields, at = {}, 0
    for name, width in _FIELDS.items():
        fields[name], at = line[at : at + width].strip(), at + width
    return fields


def _node(fields: dict[str, str]) -> PartitionNode | None:
    """None for one that takes no jobs: it is down, drained, or does not answer (`*`)."""
    state = fields["StateLong"]
    if fields["Available"] != "up" or not state.startswith(_USABLE) or state.endswith("*"):
        return None
    has, used = _gpus(fields["Gres"]), _gpus(fields["GresUsed"])
    _, idle_cpus, *_ = [*fields["CPUsState"].split("/"), "0"]
    idle = int(idle_cpus or 0)
    free = {kind: (count, max(0, count - used.get(kind, 0)) if idle else 0) for kind, count in has.items()}
    tier = int(fields["PriorityTier"]) if fields["PriorityTier"].isdigit() else 1
    partition, limit = fields["Partition"].rstrip("*"), duration_s(fields["Time"])
    return PartitionNode(
        partition,
        fields["NodeList"],
        free,
        idle,
        limit,
        fields["PreemptMode"],
        tier,
        is_default=fields["Partition"].endswith("*"),
    )


def _gpus(gres: str) -> dict[str, int]:
    """`gpu:a100:2(S:0),gpu:1g.10gb:3`: how many of which type. `*` stands for GPUs without one."""
    counts: dict[str, int] = defaultdict(int)
    for found in _GRES.finditer(gres.replace("(null):", "")):
        counts[found[1] or "*"] += int(found[2])
    return counts
