"""Sessions: a machine that is a Jupyter kernel, kept until its time or its budget is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from .. import kernels
from ..config import settings
from ..cost import prices
from ..errors import Failed, LabError, UsageProblem, did_you_mean
from ..kernels import KeptKernel, KernelState
from ..providers import make, names
from ..show import Card, Listing, Result, Table, moment, working
from ..units import Duration, DurationLimit, Usd, UsdLimit, counted, number
from ..uris import Uri, check_name
from ..verbs import Choices, Code, Destination, Inputs, Live, Name, Outputs, Suggested, verb
from . import booting, cards, metering, offered, pool_cards, pool_rows, pools, reaping, running, sessions, starting
from . import offers as offering
from .base import AcceleratorUse, Gauged, KernelHost, Machines, Offer, Paced, Plan, Status
from .keeping import KeepingMachines
from .offered import Offered, Offers
from .pools import Pool
from .record import SessionRecord
from .renting import Instance, LaunchSpec, RentingMachines
from .running import SessionRun

__all__ = [
    "AcceleratorUse", "ExportedSession", "Gauged", "Instance", "KeepingMachines", "KernelHost", "LaunchSpec",
    "MachineCheck", "Machines", "Offer", "Offered", "Offers", "Paced", "Plan", "Pool", "RentingMachines", "Session",
    "SessionOutput", "SessionRecord", "SessionRun", "Sessions", "Status",
    "check", "export", "get", "ls", "run", "show", "start", "stop",
]  # fmt: skip


def _accelerators(typed: Mapping[str, str]) -> list[str]:
    """Those of the provider that is typed, or of the one that the settings choose."""
    machines: Machines = make("gpu.machines", typed.get("on") or None)
    return list(dict.fromkeys(offer.gpu for offer in machines.offers() if not offer.taken_by))


def _providers() -> list[str]:
    return names("gpu.machines")


@dataclass(frozen=True)
class Session(Result):
    """A session. `state` is starting, running, stopping, `ended (why)`, or `cannot tell` in a list.

    kernel: its name in JupyterLab and for papermill. deadline_at: when it will be ended, while it lives.
    hourly_usd: its price. spot: whether it may be taken away. spent_usd: of this start. idle_s: the time without use
    that ends it; use: what it is used for now, empty while nobody does, and used_at: until when it was. ends_by:
    `budget` when that ends it before its time does. step: what it waits for while it starts. machine: which one was
    rented for it, as its provider calls it; type: of which kind, and where: in which zone, region or partition. count:
    of accelerators, a share of one where it has less. accelerator: how much that is used, where it can be told. files:
    where on its host the project's files are, when they are kept the same.
    """

    kind = "Session"

    uri: str
    state: str
    gpu: str
    on: str
    kernel: str
    started_at: float
    ended_at: float | None
    deadline_at: float | None
    hourly_usd: float
    spent_usd: float
    budget_usd: float | None
    spot: bool
    ends: str = ""
    notes: tuple[str, ...] = ()
    idle_s: float | None = None
    use: str = ""
    used_at: float | None = None
    ends_by: str = field(default="", metadata={"json": False})
    step: str = ""
    machine: str = ""
    type: str = ""
    where: str = ""
    count: float = 1.0
    accelerator: AcceleratorUse | None = None
    files: str = ""

    def card(self) -> Card:
        return cards.card(self)


@dataclass(frozen=True, repr=False)
class Sessions(Listing):
    """Pools, each with its sessions below it, and sessions, the last started first."""

    def table(self) -> Table:
        return pool_cards.table(self.items)


@verb("gpu")
def start(
    name: Annotated[Name, Live("gpu")],
    *,
    gpu: Annotated[str, Suggested(_accelerators)] | None = None,
    mig: Annotated[str, Choices(offering.mig_profiles, is_open=True)] | None = None,
    spot: bool = False,
    for_: DurationLimit | None = None,
    budget: UsdLimit | None = None,
    idle: DurationLimit | None = None,
    on: Annotated[str, Choices(_providers)] | None = None,
    sync: bool = False,
    environment: bool = False,
    min_: int | None = None,
    max_: int | None = None,
    queue: int | None = None,
) -> Session | Pool:
    """Start a session: a machine that is a kernel, which notebooks can leave and come back to; or a pool of them.

    It ends by itself at what comes first: its time, its budget, or the time without use. On a name that lives, what is
    given is set anew, and `none` takes a limit off: `--for none --budget none --idle none`. What is rented ends
    after its longest life then. A pool has as many sessions as the work that waits for one needs, and all limits
    together.

    name: what to call the session
    gpu: accelerator, e.g. A10G, `A10G or L4`, `2x A100` or `1/4 L4`; cpu when left out
    mig: a slice of it, as NVIDIA calls its profile, e.g. 1g.10gb
    spot: take a machine that may be taken away for a lower price, if there is one
    for: end it after this time, counted from now, e.g. 2h
    budget: end it when it has cost this much, e.g. 5; a machine that may cost more in its time is not taken
    idle: end it after so long without use, e.g. 20m. A cell or a thread that runs, a busy accelerator, and on a rented
        machine a copy of files or somebody at a terminal are use; a page that is open is none
    on: the provider of the machine; `gpu.machines` of the settings when left out, which is local unless set
    sync: have the project's files there, but for what .aiinfraignore names, and bring back what changes there: before
        and after each `%%gpu run`, and by itself when code has run. Of what changed on both sides both are kept
    environment: install there, by uv, what the project's lock file or requirements name, once for each host
    min: start a pool, of at least so many sessions; 0 when left out, with the first one when there is work
    max: start a pool, of at most so many sessions
    queue: how much work, waiting or running, one session of a pool is to have; 1 when left out

    Example:
        %gpu start trainer --for 2h --budget 5 --idle 20m
    """
    label = check_name(Uri.parse(name, noun="gpu").label)  # a version, which a session has not, is no name either
    wanted = offering.asked_for(gpu, mig) or None
    request = starting.SessionRequest(
        label, wanted, spot, number(for_), number(budget), on, number(idle), sync, environment
    )
    offering.check_provider(on, label, wanted or "", request.wanted)
    if pools.concerns(pool := pools.PoolRequest(request, min_, max_, queue)):
        return pools.start(pool)
    steps, meter = booting.StartSteps(label), metering.meter(label)
    with working(
        Session.kind,
        str(Uri("gpu", label)),
        "waits for its machine",
        lambda: [*steps.parts(), *meter()],
        state="starting",
    ) as step:
        record, notes = starting.bring_up(request, step)
        notes += running.synced(KeptKernel.of(record.uri), step) if sync and record.body.sync else []
        notes += running.packages_notes(KeptKernel.of(record.uri)) if environment and record.body.environment else []
    return _session(sessions.observe(record), notes)


@verb("gpu")
def ls(
    *,
    offers: bool = False,
    gpu: Annotated[str, Choices(prices.accelerators, is_open=True)] | None = None,
    mig: Annotated[str, Choices(offering.mig_profiles, is_open=True)] | None = None,
    for_: Duration | None = None,
    spot: bool = False,
    budget: Usd | None = None,
    on: Annotated[str, Choices(_providers)] | None = None,
) -> Listing:
    """List sessions, those that live before those that have ended, the last started first; or what `%gpu start` could
    take now.

    offers: list what could be had now, of all providers, and rent nothing
    gpu: only offers of this accelerator, e.g. A10G, `A10G or L4`, `2x A100` or `1/4 L4`; cpu for none
    mig: a slice of it, as NVIDIA calls its profile, e.g. 1g.10gb
    for: how long it is to live, which gives its worst case
    spot: offers that may be taken away too, and these first
    budget: only offers whose worst case is not more, e.g. 5
    on: only offers of this provider

    Example:
        %gpu ls
    """
    asked = {"--gpu": gpu, "--mig": mig, "--for": for_, "--spot": spot or None, "--budget": budget, "--on": on}
    if offers:
        text = offering.asked_for(gpu, mig)
        wanted = offering.request(text, spot=spot, for_s=number(for_), budget_usd=number(budget))
        offering.check_provider(on, "trainer", text, wanted)
        return offered.listing(wanted, text, on)
    if flag := next((name for name, value in asked.items() if value is not None), None):
        raise UsageProblem(f"{flag} says which offers to list", f"`%gpu ls --offers` with {flag} lists them")
    header = ("uri", "state", "gpu", "on", "started_at", "deadline_at", "ended_at", "hourly_usd", "spent_usd")
    empty = "there is none yet: `%gpu start NAME` makes one"
    found = sorted(sessions.observe_all(sessions.records()), key=lambda each: not each.is_live)  # a list shows a part
    return Sessions("gpu", tuple(pools.among(found, _session)), header, empty, title="Sessions")


@verb("gpu")
def show(name: Annotated[Name, Live("gpu")]) -> Session | Pool:
    """Show one session, or one pool of them, in full.

    name: the session

    Example:
        %gpu show trainer
    """
    if pool := pools.find(name):
        return pools.observe(pool)
    found = sessions.observe(sessions.find(name))
    return _session(found, accelerator=_use(found))


def _use(found: sessions.ObservedSession) -> AcceleratorUse | None:
    """How much its accelerator is used now; None where that cannot be told."""
    if found.state != "running":
        return None
    machines = sessions.machines(found.record)
    return machines.use_of(found.record.body.device) if isinstance(machines, Gauged) else None


@verb("gpu")
def run(
    name: Annotated[Name, Live("gpu", "live")],
    code: Code,
    *,
    inputs: Inputs | None = None,
    outputs: Outputs = (),
) -> SessionRun:
    """Run a cell in a session: its output comes here, and variables go both ways.

    It is one cell of the session's kernel, which keeps what it sets. What it prints and shows appears as it comes, an
    error with the traceback from there, and Ctrl-C interrupts it there. A cut connection loses nothing of it. With
    `%gpu start --sync` the project's files are the same on both sides before it and after it.

    Variables are copies. Arrays, tensors and tables go by their own form, anything else as a pickle, for which the
    packages must be the same on both sides: that is compared before the cell runs. Tensors of an accelerator arrive in
    the processor's memory.

    name: the session; of a pool the next free one, for which it waits, first come, first served
    code: the cell, or a file of Python: `%gpu run trainer train.py`
    inputs: a variable of this notebook that the cell gets, under its name; several as -i a -i b or -i a,b
    outputs: a variable that the cell sets, and that is brought back into this notebook

    Example:
        %%gpu run trainer -i trips -o model
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit(trips[["distance"]], trips["late"])
    """
    with pools.member(name) as session:
        return running.run(session, code, inputs or {}, outputs)


@dataclass(frozen=True)
class SessionOutput(Result):
    """What became of a session's outputs.

    state: what the session does. code: the first line of what ran last. running: whether that goes on. notebook: where
    outputs were written, and cells: into how many cells. notes: what else there is to know.
    """

    kind = "Session"

    uri: str
    state: str
    code: str = ""
    running: bool = False
    notebook: str = ""
    cells: int = 0
    notes: tuple[str, ...] = ()

    def card(self) -> Card:
        return cards.output_card(self)


@verb("gpu")
def get(name: Annotated[Name, Live("gpu")], *, into: Destination | None = None) -> SessionOutput:
    """Show here what a session's newest code has put out, from its beginning, and go on until it is over.

    Nothing of it is lost by a page that was reloaded, a notebook that was closed or a server that was killed. Ctrl-C
    ends the waiting, and not the code. It works after the session has ended too, until that name is started again.

    name: the session
    into: a notebook: the outputs that its cells lack are written into it instead; save it before, and reload it then

    Example:
        %gpu get trainer
    """
    pool_rows.refuse_outputs(name)
    found = sessions.observe(sessions.find(name))
    kernel = KeptKernel.of(found.record.uri)
    if into is not None:
        return _restored(found, kernels.restore(kernel, Path(into)), Path(into))
    followed = kernels.follow(kernel)
    if followed is None:
        return SessionOutput(found.record.uri, found.label, notes=("no code has run in it yet",))
    notes = (f"not over: {followed.lost}",) if followed.lost else ()
    return SessionOutput(
        found.record.uri, sessions.observe(found.record).label, _first_line(followed.code), notes=notes
    )


def _restored(found: sessions.ObservedSession, done: kernels.Restored, path: Path) -> SessionOutput:
    notes = []
    if done.running:
        notes.append(f"{counted(done.running, 'cell')} not over yet: get it again then")
    if done.unchanged:
        notes.append(f"{counted(done.unchanged, 'cell')} left as they are, since they were run elsewhere since")
    state, running = found.label, bool(done.running)
    return SessionOutput(
        found.record.uri, state, running=running, notebook=str(path), cells=done.written, notes=tuple(notes)
    )


def _first_line(code: str) -> str:
    return next(iter(code.strip().splitlines()), "")


@dataclass(frozen=True)
class ExportedSession(Result):
    """What a session would be rented by, for another tool. text: the file that is the session's own, `file`.

    into: the folder that it was written into with the others; empty where it was not. use: what is run beside that
    file. notes: what is to be given, and what differs.
    """

    kind = "Export"

    uri: str
    to: str
    machine: str
    file: str
    text: str
    into: str = ""
    use: str = ""
    notes: tuple[str, ...] = ()

    def card(self) -> Card:
        return cards.export_card(self)


def _exported_providers() -> list[str]:
    from .exports import FORMS

    return sorted({provider for form in FORMS.values() for provider in form.providers})


def _forms() -> list[str]:
    from .exports import FORMS

    return sorted(FORMS)


@verb("gpu")
def export(
    name: Annotated[Name, Live("gpu")],
    *,
    to: Annotated[str, Choices(_forms)],
    gpu: Annotated[str, Choices(prices.accelerators, is_open=True)] | None = None,
    mig: Annotated[str, Choices(offering.mig_profiles, is_open=True)] | None = None,
    spot: bool = False,
    for_: Duration | None = None,
    budget: Usd | None = None,
    on: Annotated[str, Choices(_exported_providers)] | None = None,
    into: Destination | None = None,
) -> ExportedSession:
    """Write what a session is rented by for another tool, and rent nothing.

    Of a session that there is, or of one that would be started with these flags. A cloud's machine is chosen by the
    price table, where it is not the session's own; a cluster is asked what it has. A pool is a group of such machines.

    name: the session; one that is not started needs --gpu
    to: the tool
    gpu: accelerator, as for `gpu start`
    mig: a slice of it, as for `gpu start`
    spot: a machine that may be taken away
    for: how long it is to live; what a session that lives has left, or `rented_for` below `[gpu]`, 12h, when left out
    budget: what it may cost at most
    on: only machines of this provider
    into: a folder for the file and what it needs; without, the file alone is shown

    Example:
        %gpu export trainer --to terraform --gpu A10G --for 2h
    """
    from .exports import FORMS
    from .exports.pool import rendered_pool
    from .exports.spec import spec_of

    if to not in FORMS:
        raise UsageProblem(f"nothing is exported to {to!r}", did_you_mean(to, FORMS))
    if on and on not in FORMS[to].providers:
        raise UsageProblem(f"{to} is about no machines of {on!r}", did_you_mean(on, FORMS[to].providers))
    label = check_name(Uri.parse(name, noun="gpu").label)
    wanted = offering.asked_for(gpu, mig) or None
    request = starting.SessionRequest(label, wanted, spot, number(for_), number(budget), None)
    if pool := pools.find(label):
        spec, provider, done = rendered_pool(pool, request, to, FORMS)
    else:
        spec, provider = spec_of(request, [on] if on else FORMS[to].providers)
        done = FORMS[to].render(spec, provider, settings())
    if into:
        done.write(Path(into))
    return ExportedSession(
        str(Uri("gpu", label)),
        to,
        str(offering.ProviderOffer(provider, spec.offer)),
        done.main,
        done.text,
        str(into or ""),
        done.use,
        done.notes,
    )


@dataclass(frozen=True)
class MachineCheck(Result):
    """Whether every rented machine of this workspace is kept by a session.

    kept: how many are. orphans: those that nobody keeps, as (provider, id, session, why). hourly_usd: what an hour of
    these costs, as far as that is known. unasked: providers that could not be asked, as (name, why, what helps).
    leftovers: machines that are gone, and of which something is left that costs nothing, as (provider, id).
    """

    kind = "Check"

    uri: str
    ok: bool
    kept: int
    orphans: tuple[tuple[str, str, str, str], ...] = ()
    hourly_usd: float = 0.0
    unasked: tuple[tuple[str, str, str], ...] = ()
    ended: int = 0
    leftovers: tuple[tuple[str, str], ...] = ()

    @property
    def state(self) -> str:
        """clean, or left over."""
        return "clean" if self.ok else "left over"

    def card(self) -> Card:
        card = cards.check_card(self)
        if not self.leftovers:
            return card
        named = ", ".join(instance for _, instance in self.leftovers)
        note = f"AWS has a schedule left for {named}, gone: it costs nothing; `%gpu stop --orphans` deletes it."
        return replace(card, notes=[*card.notes, note])


@verb("gpu")
def check(*, report: bool = False) -> MachineCheck:
    """Ask every provider for rented machines of this workspace that cost money and that no session keeps.

    Raises when there are any, or when a provider that has rented some cannot be asked.

    report: return what was found instead of raising

    Example:
        %gpu check --report
    """
    with working("Check", "gpu:check", "asks every provider for its machines"):
        found = _check(reaping.look())
    if not found.ok and not report:
        first = [f"{on} {machine}: {why}" for on, machine, _, why in found.orphans]
        first += [f"{name} cannot be asked: {why}" for name, why, _ in found.unasked]
        fix = "`%gpu stop --orphans` ends what nobody keeps" if found.orphans else found.unasked[0][2]
        raise Failed("; ".join(first), fix)
    return found


def _check(found: reaping.Findings, ended: int = 0) -> MachineCheck:
    return MachineCheck(
        "gpu:check",
        not found.orphans and not found.unasked,
        found.kept,
        tuple((each.provider, each.instance.id, each.instance.session, each.why) for each in found.orphans),
        sum(each.instance.usd_per_hour or 0.0 for each in found.orphans),
        tuple((name, problem.what, problem.fix) for name, problem in found.unasked.items()),
        ended,
        tuple((name, each) for name, left in found.leftovers.items() for each in left),
    )


@verb("gpu")
def stop(
    name: Annotated[Name, Live("gpu", "live")] | None = None, *, orphans: bool = False
) -> Session | Pool | MachineCheck:
    """End a session: its kernel, every process that it started, and its machine where that was rented.

    Of a pool all of them, and the pool. One that has ended stays as it is.

    name: the session
    orphans: end the rented machines of this workspace that no session keeps, instead; see `%gpu check`

    Example:
        %gpu stop trainer
    """
    if orphans == (name is not None):
        raise UsageProblem(
            "name a session, or say --orphans", "`%gpu ls` lists sessions, `%gpu check` looks for orphans"
        )
    if name is None:
        with working("Check", "gpu:orphans", "ends what nobody keeps, and waits until it is gone"):
            asked = reaping.look()
            left = reaping.end(asked.orphans)
            reaping.tidy(asked.leftovers)
        return _check(replace(asked, orphans=left, leftovers={}), len(asked.orphans) - len(left))
    if pool := pools.find(name):
        return pools.stop(pool)
    found = sessions.observe(sessions.find(name))
    if found.is_live or sessions.has_machine(found.record):
        uri, waits = found.record.uri, "waits for the end of its kernel and its processes"
        with working(Session.kind, uri, waits, state="stopping"):
            found = sessions.observe(starting.bring_down(sessions.request_stop(found.record)))
    return _session(found)


def _session(
    found: sessions.ObservedSession, notes: Sequence[str] = (), accelerator: AcceleratorUse | None = None
) -> Session:
    record, body, is_live = found.record, found.record.body, found.is_live
    kernel, problem = _kernel_state(found)
    if kernel.unreached_at:
        problem = [
            f"its host has not been reached since {moment(kernel.unreached_at)} ({kernel.unreached}); it goes on there"
        ]
    if kernel.notice_at:
        taken = f"its machine will be taken away at {moment(kernel.notice_at)}; another one takes its place"
        problem = [*problem, taken]
    if kernel.crash and kernel.crashed == kernel.incarnation - 1 and found.state == "running":
        problem = [*problem, f"{kernel.crash}, and another one took its place: what it had in memory is lost"]
    if kernel.project:
        problem = [*problem, *running.conflicts_notes(KeptKernel.of(record.uri))]
    return Session(
        uri=record.uri,
        state=found.label,
        gpu=body.gpu,
        on=body.provider,
        kernel=kernel.kernel,
        started_at=body.started_at,
        ended_at=found.at,
        deadline_at=body.deadline_at if is_live else None,
        hourly_usd=body.usd_per_hour,
        spent_usd=found.spent_usd,
        budget_usd=body.budget_usd,
        spot=body.spot,
        ends=sessions.limit_text(found) if is_live else "",
        notes=(*notes, *problem),
        idle_s=body.idle_s,
        use=kernel.use,
        used_at=kernel.used_at or None,
        ends_by=body.deadline_by if is_live else "",
        step=found.step,
        machine=next((each.instance for each in found.machines if each.job == body.handle), ""),
        type=body.type or (body.device if body.is_rented else ""),  # an older record has no type
        where=body.where,
        count=body.count or 1.0,
        accelerator=accelerator,
        files=kernel.project,
    )


def _kernel_state(found: sessions.ObservedSession) -> tuple[KernelState, Sequence[str]]:
    """What the session's kernel does, and why that cannot be told: a list must not end at one session."""
    try:
        kernel = sessions.reachable_kernel(found) if found.state == "running" else None
    except LabError as problem:
        return KernelState(), [f"its kernel cannot be asked: {problem.what}; {problem.fix}"]
    return (kernel.state() if kernel else KernelState()), ()
