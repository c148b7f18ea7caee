"""What sessions are to `lab`, `cost`, completion and the panel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from .. import jobs
from ..errors import NotFound
from ..kernels import KeptKernel, KernelState
from ..nouns import STATE_DETAILS, Action, Budget, Details, Fact, Notice, Noun, Observation, Span, Thing, is_overdue
from ..resolve import resolve
from ..show import moment
from ..store import Record, open_store
from ..units import show_duration, show_usd
from ..uris import Uri
from . import pool_rows, pools, sessions, starting
from .base import start_again
from .naming import NameRecord
from .pool_record import PoolRecord
from .pool_rows import MORE, MORE_S
from .pools import PoolMember
from .record import MachineRecord, SessionRecord


class GpuNoun(Noun[SessionRecord]):
    """Sessions have no versions: a name that is started again keeps its record."""

    name = "gpu"
    kind = SessionRecord
    plural = "sessions"
    more_kinds = (MachineRecord, PoolRecord, NameRecord)
    settings: ClassVar = {
        "aws_environment": "the environment of infra/terraform whose networks `--on aws` uses, found by its tag",
        "aws_image": "the image of its machines, with drivers: an id, or a pattern of names of which the newest counts",
        "aws_instance_profile": "their role; aiinfra-ENVIRONMENT-host when it is not set",
        "aws_one_shot": "true: a schedule of AWS's ends each machine at its deadline too, see infra/README.md",
        "aws_python": "the Python there, which has ipykernel; without it each machine makes itself one",
        "aws_regions": "where machines are rented, e.g. us-east-1, us-west-2; the usual region when it is not set",
        "aws_root_gib": "the size of their volumes, in GiB; 100, or the image's, when it is not set",
        "aws_security_groups": "security groups of your own in place of the environment's",
        "aws_setup": "lines of shell that a machine runs once, when its deadline is armed",
        "aws_ssh_config": "another ssh configuration than your own, a file",
        "aws_subnets": "subnets of your own in place of the environment's",
        "aws_user": "whom the image lets log in; ubuntu when it is not set",
        "namespace_bytes": "how much of a session's variables is saved when its machine is taken away, in bytes; 4 GiB "
        "when it is not set, 0 for nothing",
        "rented_for": "how long a rented machine lives that is started without an end; 12h when it is not set",
        "sim_boot": "how long a machine of `--on sim` takes to boot; 1.5s when it is not set",
        "sim_room": "how many machines of a type a zone of `--on sim` has; 4 when it is not set",
        "sim_taken_after": "the mean time after which `--on sim` takes a spot machine away; never when it is not set",
        "sync_bytes": "how much `gpu start --sync` may keep the same on both sides, in bytes; 2 GiB when it is not set",
        "sync_folder": "in which folder of its host the project's files lie then; ~/aiinfra-lab when it is not set",
        "value_bytes": "how much `gpu run` may take along or bring back at once, in bytes; 4 GiB when it is not set",
        "slurm_login": "the host that has Slurm's commands, by its name in your ssh configuration; else this machine",
        "slurm_partition": "the partitions of `--on slurm` that are used, e.g. gpu, long; all when it is not set",
        "slurm_account": "the account that Slurm bills",
        "slurm_qos": "the quality of service that is asked for",
        "slurm_options": "more options of sbatch, e.g. --cpus-per-task=8 --mem=32G",
        "slurm_setup": "a line of shell that a job runs first, e.g. module load python",
        "slurm_python": "the Python on the nodes, which has ipykernel; python3 when it is not set",
        "slurm_folder": "where a job keeps its files, on a shared file system or the node's own",
        "slurm_attach": "how a kernel there is reached: srun, a step of its job, or ssh to its node, which is faster",
        "slurm_gpu": "which GPU it is where the cluster does not name it, e.g. A100",
        "slurm_usd_per_hour": "what an hour of one of its GPUs costs, in USD; 0 when it is not set",
        "ssh_hosts": "the machines of `--on ssh`, by the names in your ssh configuration, e.g. lab1, lab2",
        "ssh_python": "the Python there, which has ipykernel; python3 when it is not set",
        "ssh_config": "another ssh configuration than your own, a file",
        "ssh_usd_per_hour": "what an hour of one of them costs, in USD; 0 when it is not set",
        "kubernetes_image": "the container image of sessions on Kubernetes: any with a Python that has ipykernel",
        "kubernetes_context": "the context of kubectl; the current one when it is not set",
        "kubernetes_namespace": "the namespace; the context's own when it is not set",
        "kubernetes_template": "a file with a Pod that sessions are made from: its volumes, accounts, requests",
        "kubernetes_accelerators": "what a cluster has besides what its nodes show, e.g. L4, A100 nvidia.com/gpu=8",
        "kubernetes_accelerator_label": "the label by which nodes name their accelerator, if it is none of the usual",
        "kubernetes_usd_per_hour": "what an hour of an accelerator costs, in USD: 2.5, or L4 0.8, A100 3.2, cpu 0.1",
        "kubernetes_longest": "how long a pod may live at most, renewals included; 24h when it is not set",
        "kubernetes_python": "the Python in the image; python3 when it is not set",
        "kubernetes_folder": "where sessions keep their files there; ~/.cache/aiinfra-lab/sessions when it is not set",
    }

    def first(self, name: str) -> str:
        return f"`%gpu start {name}` starts it"

    def beginning(self, starts: str, most: int, *, is_live: bool = False) -> Sequence[str]:
        return [*pools.beginning(starts), *super().beginning(starts, most, is_live=is_live)][:most]

    def things(self) -> Sequence[Thing]:
        """Sessions and pools."""
        found = pool_rows.things()
        names = {each.uri for each in found}
        return [*found, *(each for each in super().things() if each.uri not in names)]

    def observe(self, records: Sequence[Record[SessionRecord]]) -> Sequence[Observation]:
        return [_observation(found) for found in sessions.observe_all(records)]

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        store = open_store()
        living = store.list(SessionRecord, is_open=True, skip_unreadable=True)
        # An end is the last that is written of a start, so the last written are the last ended.
        over = store.list(SessionRecord, is_open=False, limit=ended, order="written", skip_unreadable=True)
        found = sessions.observe_all([*living, *over])
        of_pools = pool_rows.living(found)
        members = {each.uri: (pool.uri, each) for _, pool in of_pools for each in pool.members}
        rows = [pool_rows.observation(record, pool) for record, pool in of_pools]
        rows += [pool_rows.ended(record) for record in pool_rows.over(ended)]
        names = {each.uri for each in rows}
        seen = [*rows, *(_row(each, members) for each in found if each.record.uri not in names)]
        last = sorted((one for one in seen if not one.is_live), key=lambda one: one.ended_at or 0.0, reverse=True)
        return [*(one for one in seen if one.is_live), *last[:ended]]

    def details(self, uri: str) -> Details:
        if pool := pools.find(uri):
            log = super().details(uri).log if jobs.find(uri) else ""
            return replace(pool_rows.details(pools.observe(pool)), log=log)
        record = sessions.get(Uri.parse(uri).name)
        if record is None:
            return super().details(uri)
        [found] = sessions.observe_all([record])
        log = super().details(uri).log if jobs.find(uri) else ""
        problem = found.why if found.state == "cannot tell" else ""
        return Details(tuple(_facts(found)), problem=problem, log=log, code=f"%gpu get {record.name}")

    def stop(self, uri: str) -> Sequence[str]:
        if (pool := pools.find(uri)) and pool.body.is_open:
            pools.ask_to_end(pool)
            return [pool.body.job]
        record = resolve(uri, SessionRecord)
        if not record.body.is_open:
            raise NotFound(f"{record.uri} has ended", f"start it: `%gpu start {record.name}`")
        asked = starting.ask_to_end(sessions.request_stop(record)).body
        return [asked.handle] if asked.handle and asked.is_on_this_machine else []

    def notices(self) -> Sequence[Notice]:
        """Sessions whose machines cannot be asked: they may live, and cost money."""
        found = sessions.observe_all(open_store().list(SessionRecord, is_open=True, skip_unreadable=True))
        return [
            Notice(each.record.uri, each.why, f"`%gpu show {each.record.name}` says what helps", "cannot tell")
            for each in found
            if each.state == "cannot tell"
        ]

    def budgets(self) -> Sequence[Budget]:
        return pools.budgets(super().budgets())

    def budget(self, record: Record[SessionRecord]) -> Budget | None:
        """That of a session. One that has ended is started again on such a machine as it had."""
        found, body = super().budget(record), record.body
        if found is None or not body.ended_at:
            return found
        again = start_again(record.name, body.gpu, body.provider, spot=body.spot)
        return replace(found, fix=f"`{again} --budget {2 * found.budget_usd:g}` starts it again")

    def spent_usd(self, record: Record[SessionRecord]) -> float:
        """A rented session is paid by its machines."""
        return sessions.rented_usd(record) if record.body.is_rented else super().spent_usd(record)

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        found = sessions.observe_all(open_store().list(SessionRecord, skip_unreadable=True))
        return [span for each in found for span in _spans(each)]


NOUN = GpuNoun()


def _observation(found: sessions.ObservedSession) -> Observation:
    body, is_live = found.record.body, found.is_live
    kernel = KeptKernel.of(found.record.uri).state() if found.state == "running" else KernelState()
    return Observation(
        found.record.uri,
        found.label,
        is_live=is_live,
        started_at=body.started_at,
        ended_at=found.at,
        deadline_at=body.deadline_at if is_live else None,
        detail=_detail(found, kernel),
        can_stop=is_live and (found.state != "stopping" or is_overdue(body.stop_requested_at)),
        job=body.handle or "",  # its keeper's, wherever its machine is; where a provider keeps none it is no job's id
        context=body.context,
        figure=f"{body.usd_per_hour:.2f} USD/h" if is_live and body.usd_per_hour else "",
        facts=(_machine(body),),
        usd_per_hour=body.usd_per_hour,
        on_machine=body.is_on_this_machine,
        actions=tuple(_extensions(found)),
    )


def _row(found: sessions.ObservedSession, members: Mapping[str, tuple[str, PoolMember]]) -> Observation:
    """A session, and what it does for the pool that it is of: that one looks after its time and its money."""
    seen = _observation(found)
    if seen.uri not in members:
        return seen
    pool, member = members[seen.uri]
    work = member.work or ("free" if found.state == "running" else "")
    actions = tuple(pool_rows.member_actions(found.record.name, pool, member))
    return replace(seen, facts=(*seen.facts, *filter(None, [work])), actions=actions, group=pool)


def _detail(found: sessions.ObservedSession, kernel: KernelState) -> str:
    if found.state == "cannot tell":
        return found.why
    if kernel.unreached_at:
        return f"its host has not been reached since {moment(kernel.unreached_at)}"
    return found.step or STATE_DETAILS.get(found.state, "")


def _extensions(found: sessions.ObservedSession) -> Iterator[Action]:
    """More time, or more money, for one that would end within that time."""
    body, name = found.record.body, found.record.name
    if found.state != "running" or body.deadline_at is None or body.deadline_at - time.time() > MORE_S:
        return
    costs = f" It costs {show_usd(body.usd_per_hour)} an hour." if body.usd_per_hour else ""
    if body.deadline_by == "budget" and body.budget_usd:
        more = 2 * body.budget_usd
        question, flags = f"Give {name} a budget of {show_usd(more)}?", {"budget": f"{more:g}"}
        yield Action("start", "Double its budget", question, f"It ends when that is spent.{costs}", flags=flags)
    else:
        question, flags = f"Let {name} live for {MORE} from now?", {"for": MORE}
        yield Action("start", f"Give it {MORE}", question, f"It ends by itself after that.{costs}", flags=flags)


def _machine(body: SessionRecord) -> str:
    kind = body.gpu if body.is_rented else body.device or body.gpu
    name = f"{kind}{' spot' if body.spot else ''}"
    return f"{name} here" if body.is_on_this_machine else f"{body.provider} {name}"


def _facts(found: sessions.ObservedSession) -> Iterator[Fact]:
    body, is_live = found.record.body, found.is_live
    yield Fact("machine", _machine(body))
    if body.usd_per_hour:
        yield Fact("price", f"{show_usd(body.usd_per_hour)} an hour")
        yield Fact("spent", *pool_rows.spent(found.spent_usd, body.budget_usd))
    if is_live:
        yield Fact("ends", sessions.limit_text(found))
        yield from _use(found)
    elif found.at is not None:
        yield Fact("lived", show_duration(max(0.0, found.at - body.started_at)))
    if found.state == "ended" and found.why:
        yield Fact("ended", found.why)
    if body.context:
        yield Fact("started by", body.context)


def _use(found: sessions.ObservedSession) -> Iterator[Fact]:
    """What its kernel is called and used for."""
    kernel = KeptKernel.of(found.record.uri).state() if found.state == "running" else KernelState()
    if found.record.body.idle_s is not None and (kernel.use or kernel.used_at):
        unused = f"for {show_duration(max(1.0, time.time() - kernel.used_at))}"
        yield Fact("idle", f"no: {kernel.use}" if kernel.use else unused)
    if kernel.kernel:
        yield Fact("kernel", kernel.kernel)


def _spans(found: sessions.ObservedSession) -> list[Span]:
    """This start and the earlier ones. What cannot be asked counts as if it went on: it may cost money."""
    uri, body, now = found.record.uri, found.record.body, time.time()
    rented = [
        Span(
            *(uri, each.paid_from, each.paid_from + each.paid_s(now), each.is_open, each.mean_usd_per_hour(now), False),
            of_start=each.job,
        )
        for each in found.machines
        if each.instance or each.is_open
    ]
    ended_at = time.time() if found.is_live else found.at or body.started_at
    current = Span(uri, body.started_at, ended_at, found.is_live, body.usd_per_hour, body.is_on_this_machine)
    earlier = [
        Span(
            *(uri, each.started_at, each.ended_at or each.started_at, False, each.usd_per_hour),
            on_machine=body.was_on_this_machine(each),
        )
        for each in body.earlier_spans
    ]
    return [*rented, *([] if body.is_rented else [current]), *earlier]
