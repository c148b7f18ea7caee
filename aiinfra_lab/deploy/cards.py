"""How an endpoint, a load test and an endpoint's log are shown."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..show import (
    Band,
    Card,
    Cell,
    Figure,
    Fold,
    Meter,
    Number,
    Part,
    Progress,
    Quote,
    RowHeader,
    StateMark,
    Table,
    drawing,
    mark_of,
    moment,
    shown,
)
from ..stats.bounds import JudgedBound, JudgedMeasure, round_up
from ..train.texts import beginning
from ..units import counted, show_duration, show_share
from ..uris import Uri
from .details import JUDGED, curl, start_again
from .load_generator import LoadCounts
from .record import Arm, Role

if TYPE_CHECKING:
    from .results import Endpoint, Load, Log, Served

KIND = "Endpoint"
LOAD_KIND = "Load test"
# A busy client, or the way to the endpoint, shows in the one and not in the other.
_AT_CLIENT = "`%deploy run` measures at the client."
_TIMED = f"p50 and p95 are from when a request was read to when it was answered; {_AT_CLIENT}"
_LIVE = ("starting", "running")
_ROLES = ("champion", "canary", "candidate", "shadow", "")
_COLOURS = {"ok": drawing.GREEN, "breach": drawing.RED, "undecided": drawing.GREY}


def endpoint_card(endpoint: Endpoint) -> Card:
    """What serves which share of the traffic, how well, and what its rollback rule says."""
    label = Uri.parse(endpoint.uri).label
    late = f"The figures are from {moment(endpoint.figures_at, to_second=True)}." if endpoint.figures_at else ""
    return Card(
        kind=KIND,
        uri=endpoint.uri,
        state=_mark(endpoint),
        when=f"as of {time.strftime('%H:%M:%S')}" if endpoint.state in _LIVE else "",
        lead=_lead(endpoint),
        advice=_advice(endpoint, label),
        facts=[(name, value) for name, value in _facts(endpoint) if value],
        figures=_figures(endpoint),
        parts=[*_split(endpoint), _arms(endpoint), *_evidence(endpoint), *_ask(endpoint)],
        notes=[*filter(None, [late]), *endpoint.notes, *_reasons(endpoint), *_promise(endpoint), *_timed(endpoint)],
        next=_next(endpoint, label),
    )


def _mark(endpoint: Endpoint) -> StateMark:
    is_replaced = endpoint.cannot_serve and endpoint.state in _LIVE
    return mark_of("needs a look") if is_replaced else mark_of(endpoint.state, endpoint.uri)


def load_card(load: Load) -> Card:
    """What came back of the traffic that was sent."""
    is_bad = load.errors > 0 or load.refused > 0
    served = sum(load.versions.values()) or 1
    versions = [
        (uri, f"{count:,}", Meter(count, served, show_share(count / served))) for uri, count in load.versions.items()
    ]
    return Card(
        kind=LOAD_KIND,
        uri=load.uri,
        state=mark_of("needs a look" if is_bad else "done"),
        when=f"{show_duration(load.for_s)}, {load.per_s:,.0f} requests a second",
        lead=_load_lead(load),
        advice=f"`%deploy log {Uri.parse(load.uri).label}` shows what the endpoint says of them." if is_bad else "",
        facts=[("rows of", load.rows)],
        figures=[
            Figure("sent", f"{load.sent:,}", "requests"),
            Figure("answered well", f"{load.ok:,}"),
            Figure("p50", *_ms(load.p50_ms)),
            Figure("p95", *_ms(load.p95_ms)),
            Figure("p99", *_ms(load.p99_ms)),
        ],
        parts=[Table((RowHeader("version"), Number("requests served"), "share"), versions)],
        notes=[
            *([f"The first problem: {load.first_problem}"] if is_bad and load.first_problem else []),
            *load.notes,
            "Latencies are at the client, from when a request was due, so that waiting is not hidden.",
        ],
        next=[f"Next: `%deploy show {Uri.parse(load.uri).label}`"],
    )


def load_frame(uri: str, counts: LoadCounts, took_s: float, for_s: float) -> Card:
    """A load test while it goes on."""
    took = min(took_s, for_s)
    sent = f"**{counts.sent:,}** sent, {counts.refused:,} refused, {counts.errors:,} failed"
    words = f"{sent} · {show_duration(took)} · **{show_duration(for_s - took)}** left"
    when = f"frame of {time.strftime('%H:%M:%S')}"
    return Card(kind=LOAD_KIND, uri=uri, state=mark_of("running"), when=when, progress=Progress(took, for_s, words))


def log_card(log: Log) -> Card:
    """The newest predicted rows, and folded what happened and what was printed."""
    answers = [{name: beginning(value) for name, value in (row["outputs"] or {}).items()} for row in log.rows]
    each = (item for answer in answers for item in answer.items())
    named = {name for name, value in each if not isinstance(value, Mapping)}
    answered = Number(next(iter(named), "")) if len(named) == 1 else "answer"
    titles = (RowHeader("row"), "version", "arm", answered, Number("latency"), "at")
    rows = [
        (row["row_id"], row["model"], "" if row["arm"] == "champion" else row["arm"],
         row.get("error") or _outputs(answer), f"{row['latency_ms']:.2f} ms",
         moment(row["at"], to_second=True))
        for row, answer in zip(log.rows, answers, strict=True)
    ]  # fmt: skip
    notes = log.notes or ("Nothing was predicted yet: `%deploy run NAME --rows …` sends traffic.",)
    texts = (("events", "\n".join(log.events)), ("output", log.output))
    return Card(
        kind="Endpoint log",
        uri=log.uri,
        facts=[("all rows", log.log_dir)] if log.log_dir else [],
        parts=[Table(titles, rows), *(Fold(name, Quote(text)) for name, text in texts if text)],
        notes=[*(() if rows else notes), *([log.more] if log.more else [])],
    )


def _outputs(outputs: Mapping[str, Any]) -> str:
    """A row's answer in a cell: its only value, or each of them with its name; a label with its probability."""
    shares = [value for value in outputs.values() if isinstance(value, Mapping)]
    texts = [(name, _brief(value, shares)) for name, value in outputs.items() if not isinstance(value, Mapping)]
    return texts[0][1] if len(texts) == 1 else ", ".join(map(" ".join, texts))


def _brief(value: Any, shares: Sequence[Mapping[str, float]]) -> str:
    if isinstance(value, str):
        sure = next((share[value] for share in shares if value in share), None)
        value = textwrap.shorten(value, 60, placeholder=" …")
        return value if sure is None else f"{value} ({shown('score', sure)})"
    if isinstance(value, Sequence):
        return counted(len(value), "number")
    return shown("score", value) if isinstance(value, float) else str(value)


def _timed(endpoint: Endpoint) -> Iterator[str]:
    """Whose figures the latencies are, and of what."""
    timed = [item for item in endpoint.versions if (item.p50_ms, item.p95_ms) != (None, None)]
    for by in dict.fromkeys(item.measured_by for item in timed):
        if by:
            yield f"p50 and p95 are measured by {by}; {_AT_CLIENT}"
        else:
            yield _TIMED if endpoint.is_ours else f"p50 and p95 are as {endpoint.on} counts them; {_AT_CLIENT}"


def _lead(endpoint: Endpoint) -> str:
    served = _count(endpoint)
    match endpoint.state:
        case "running":
            return _serves(endpoint)
        case "starting":
            return f"It is loading {' and '.join(filter(None, (endpoint.champion, endpoint.canary)))}."
        case "stopping":
            return f"It answers what it has taken, and then ends.{served}"
        case "stopped":
            return f"**It was stopped.**{served}"
        case "failed" | "lost" if endpoint.detail:
            return f"**It failed:** {endpoint.detail.partition(chr(10))[0].rstrip('.')}.{served}"
        case "cannot tell":
            return "**Its target cannot be asked**: it may serve, and cost money."
        case _:
            gone = "its process is gone" if endpoint.is_ours else f"{endpoint.on} knows nothing of it any more"
            return f"**Nobody answers: {gone}.**{served}"


def _count(endpoint: Endpoint) -> str:
    """What it served, where anybody counts that."""
    if not (endpoint.is_ours or endpoint.versions):
        return ""
    return f" It served {counted(endpoint.count, 'row')} since {shown('x_at', endpoint.started_at)}."


def _serves(endpoint: Endpoint) -> str:
    share = show_share(endpoint.canary_share)
    others = "".join(map(_other, endpoint.others))
    if not endpoint.canary:
        lost = f" **{endpoint.rolled_back} was rolled back by its rule.**" if endpoint.rolled_back else ""
        if endpoint.cannot_serve:
            lead = f"**{endpoint.cannot_serve} cannot be served.**"
            return f"{lead} {endpoint.champion} serves in its place.{others}"
        most = "all requests" if _champion_share(endpoint) == 1 else show_share(_champion_share(endpoint))
        return f"**{endpoint.champion}** serves {most}.{others}{lost}"
    if not endpoint.champion:
        return f"**{endpoint.canary}** is a canary without a champion, and serves all requests."
    serves = f"**{endpoint.champion}** serves {show_share(_champion_share(endpoint))} and the canary"
    good = "is not worse than the champion" if endpoint.measures else "keeps within its rule"
    judged = {
        "ok": f"The canary {good}.",
        "breach": "**The canary broke its rule.**",
        "undecided": _undecided(endpoint),
    }.get(endpoint.verdict, "Nothing judges the canary.")
    return f"{serves} **{endpoint.canary}** {share}. {judged}{others}"


def _other(arm: Arm) -> str:
    gets = f"gets {show_share(arm.share)}"
    does = "is asked what the others are, and answers nobody" if arm.role == "shadow" else gets
    return f" The {arm.role} **{arm.model}** {does}."


def _undecided(endpoint: Endpoint) -> str:
    canary = next((item for item in endpoint.versions if item.role == "canary"), None)
    if canary and canary.refused and not canary.requests:
        return (
            f"**It has refused all of its {counted(canary.refused, 'request')}**, which the champion answered: "
            "more of them decide nothing, for it takes other rows."
        )
    # By how many requests another's target decides only it knows.
    lack = _missing(endpoint) if endpoint.is_ours else f"{endpoint.on} judges it"
    return f"The canary is not decided yet: {lack}."


def _missing(endpoint: Endpoint) -> str:
    """How many more requests of the canary decide, as far as anybody can tell."""
    undecided = [each for each in endpoint.measures or endpoint.bounds if each.verdict == "undecided"]
    if time := next((each.by_time for each in undecided if isinstance(each, JudgedMeasure) and each.by_time), ""):
        return time
    lack = [each.more for each in undecided if each.more is not None]
    if not lack or len(lack) < len(undecided):
        return "more requests are needed"
    return f"about {round_up(max(lack)):,} more requests of its are needed, if the shares stay as they are"


def _advice(endpoint: Endpoint, label: str) -> str:
    if endpoint.cannot_serve and endpoint.state in _LIVE:
        return f"`%deploy log {label}` says why; `%models check {endpoint.cannot_serve}` looks at its files."
    if endpoint.state in ("lost", "failed"):
        again = start_again(label, endpoint.on, endpoint.champion or endpoint.canary)
        return f"`%deploy log {label}` says why, and `{again}` brings it back."
    return ""


def _facts(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    is_live = endpoint.state in _LIVE
    yield "url", endpoint.url if is_live else ""
    yield "gRPC", endpoint.grpc_url if is_live else ""
    if not is_live:
        yield "champion", endpoint.champion or ""
        yield "canary", endpoint.canary or ""
    yield "before", endpoint.previous or ""
    shares = ", ".join(map(show_share, endpoint.steps))
    least = f", each after {show_duration(endpoint.bake_s)} at least, once the canary is shown to be as good"
    yield "next steps", f"{shares}{least}" if shares else ""
    if endpoint.measures:
        yield "guarded by", endpoint.rollback_if
    elif not endpoint.bounds:
        yield "rolls back if", endpoint.rollback_if


def _figures(endpoint: Endpoint) -> list[Figure]:
    requests = sum(item.answered for item in endpoint.versions)
    if not requests:
        return []
    since = max(0.0, (endpoint.figures_at or time.time()) - endpoint.started_at)
    errors = sum(item.errors for item in endpoint.versions if item.role != "shadow")
    # Of several versions the slowest: the quantile of all together is not to be had from theirs.
    serving = [item for item in endpoint.versions if item.role] or endpoint.versions
    slowest = max((item.p95_ms for item in serving if item.p95_ms is not None), default=None)
    span = f"in {show_duration(since)}" if endpoint.state in _LIVE else ""
    return [
        Figure("requests served", f"{requests:,}", span),
        Figure("rows predicted", f"{endpoint.count:,}"),
        Figure("p95" if len(serving) < 2 else "p95 of the slowest", *_ms(slowest)),
        Figure("errors", *_percent(errors / requests)),
    ]


def _split(endpoint: Endpoint) -> Iterator[Part]:
    canary, candidates = endpoint.canary_share, [arm.share for arm in endpoint.others if arm.role == "candidate"]
    if endpoint.state == "running" and endpoint.champion and (canary or candidates):
        shares: list[tuple[Role, float]] = [("champion", _champion_share(endpoint)), ("canary", canary)]
        shares += [("candidate", share) for share in candidates]
        shown_shares = [(role, share) for role, share in shares if share]
        alt = ", ".join(f"{show_share(share)} {role}" for role, share in shown_shares)
        yield Band(drawing.split(shown_shares, alt=alt), "Split of traffic")


def _champion_share(endpoint: Endpoint) -> float:
    candidates = sum(arm.share for arm in endpoint.others if arm.role == "candidate")
    return 1 - endpoint.canary_share - candidates


def _arms(endpoint: Endpoint) -> Table:
    titles = (
        "arm", RowHeader("model"), Number("share"), Number("requests"), Number("rows"), Number("p50"), Number("p95"),
        "errors and refused",
    )  # fmt: skip
    ordered = sorted(endpoint.versions, key=lambda item: _ROLES.index(item.role))
    return Table(titles, [_arm(item) for item in ordered])


def _arm(item: Served) -> Sequence[Cell]:
    arm: Cell = "earlier"
    if item.role:
        arm = (drawing.key(item.role), item.role)
    errors = f"{counted(item.errors, 'error')}, {item.refused:,} refused"
    share = show_share(item.share) if item.role else "–"
    times = (_shown_ms(item.p50_ms), _shown_ms(item.p95_ms))
    return arm, item.model, share, f"{item.requests:,}", f"{item.rows:,}", *times, errors


def _evidence(endpoint: Endpoint) -> Iterator[Part]:
    yield from _comparison(endpoint)
    yield from _rule(endpoint)
    yield from _agreement(endpoint)


def _comparison(endpoint: Endpoint) -> Iterator[Part]:
    if not endpoint.measures:
        return
    titles = (
        RowHeader("measure"), "state", Number("canary"), Number("champion"), "difference, 95 % interval",
        "evidence that it is worse", "requests",
    )  # fmt: skip
    yield Table(titles, [_measured(each) for each in endpoint.measures], "The canary beside the champion")


def _measured(judged: JudgedMeasure) -> Sequence[Cell]:
    beyond = "" if judged.p95_ms is None else f", slower than {_shown_ms(judged.p95_ms)}"
    name, state = f"{judged.measure}{beyond}", mark_of(JUDGED[judged.verdict])
    if not (judged.canary and judged.champion):
        return name, state, "–", "–", "", "", "none yet"
    low, difference, high = judged.interval
    canary, champion = (
        show_share(bad / of) for bad, of in ((judged.canary_bad, judged.canary), (judged.champion_bad, judged.champion))
    )
    reach = max(2 * judged.margin, abs(difference))
    picture = drawing.interval(
        low, difference, high, within=(-reach, reach), limit=judged.margin, is_more_worse=True,
        colour=_COLOURS[judged.verdict], alt=f"{canary} less {champion}, from {_points(low)} to {_points(high)} points",
    )  # fmt: skip
    strength = min(judged.evidence / judged.limit, 1.0)
    evidence: Cell = Meter(strength, 1.0, show_share(strength)) if judged.is_guarded else "not guarded"
    return name, state, canary, champion, picture, evidence, _remaining(judged)


def _points(share: float) -> str:
    return f"{100 * share:+.2g}"


def _remaining(judged: JudgedMeasure) -> Cell:
    if judged.verdict != "undecided":
        return f"decided by {judged.canary:,}"
    if judged.by_keys:
        return f"{judged.canary:,}; what is bad comes from {judged.by_keys}"
    if judged.by_time:
        return f"{judged.canary:,}; {judged.by_time}"
    if judged.more is None:
        return f"{judged.canary:,}, too near to the margin to tell how many"
    needed = round_up(judged.canary + judged.more)
    return Progress(judged.canary, needed, f"{judged.canary:,} of about {needed:,}")


def _agreement(endpoint: Endpoint) -> Iterator[Part]:
    if not endpoint.agreements:
        return
    titles = (RowHeader("output"), Number("rows"), Number("mean difference"), Number("largest"), "the same")
    rows: list[Sequence[Cell]] = [
        (each.output, f"{each.rows:,}",
         *("–" if number is None else shown("score", number) for number in (each.mean, each.largest)),
         Meter(each.same, each.rows, show_share(each.same / each.rows)))
        for each in endpoint.agreements
    ]  # fmt: skip
    yield Table(titles, rows, "The shadow beside who answered, in the newest rows of the log")


def _promise(endpoint: Endpoint) -> Iterator[str]:
    """How often a canary that is as good as its champion is rolled back."""
    if endpoint.canary and endpoint.false_per_hour:
        hourly, once = show_share(endpoint.false_per_hour), show_share(endpoint.false_at_start)
        yield (
            f"A healthy canary is rolled back in at most {hourly} of hours, and {once} once. "
            "Of each key the comparison takes one request a look: one that asks often hides no other."
        )


def _rule(endpoint: Endpoint) -> Iterator[Part]:
    if not endpoint.bounds:
        return
    of = show_share(endpoint.bounds[0].confidence)
    titles = (
        "bound", "state", Number("beyond it"), Number(f"{of} interval"), Number("allowed"),
        "0 to twice that", "requests",
    )  # fmt: skip
    # Beside a champion the canary is compared with it, and what the rule allows is an alarm of both together.
    label = "The endpoint as a whole" if endpoint.measures else "Rolls back the canary if"
    yield Table(titles, [_bound(endpoint, each) for each in endpoint.bounds], label)


def _bound(endpoint: Endpoint, judged: JudgedBound) -> Sequence[Cell]:
    state = mark_of(JUDGED[judged.verdict])
    if not judged.total:
        return judged.bound, state, "–", "–", show_share(judged.allowed), "", "none yet"
    share, allowed = judged.bad / judged.total, judged.allowed
    alt = f"{show_share(share)}, from {show_share(judged.low)} to {show_share(judged.high)}"
    picture = drawing.interval(
        judged.low, share, judged.high, within=(0, 2 * allowed or judged.high), limit=allowed, is_more_worse=True,
        colour=_COLOURS[judged.verdict], alt=alt,
    )  # fmt: skip
    spans = _span(judged.low, judged.high)
    return (
        judged.bound,
        state,
        show_share(share),
        spans,
        show_share(allowed),
        picture,
        _towards(endpoint, judged),
    )


def _span(low: float, high: float) -> str:
    """An interval of shares: its lower end with as many decimals as its upper one."""
    top = show_share(high)
    decimals = len(top.partition(" ")[0].partition(".")[2])
    return f"{low * 100:.{decimals}f}".removesuffix("." + "0" * decimals) + f" to {top}"


def _towards(endpoint: Endpoint, judged: JudgedBound) -> Cell:
    if judged.verdict != "undecided":
        return f"decided by {judged.total:,}"
    if not endpoint.is_ours:
        return f"{judged.total:,} so far"
    if judged.more is None:
        return f"{judged.total:,}, too near to what is allowed to tell how many"
    needed = round_up(judged.total + judged.more)
    return Progress(judged.total, needed, f"{judged.total:,} of about {needed:,}")


def _reasons(endpoint: Endpoint) -> list[str]:
    """What a target says that judges by itself and tells no numbers."""
    return [] if endpoint.bounds or endpoint.measures else [f"Its rule: {reason}" for reason in endpoint.reasons]


def _ask(endpoint: Endpoint) -> Iterator[Part]:
    if endpoint.state == "running" and (command := curl(endpoint.url, endpoint.champion or endpoint.canary or "")):
        yield Quote(command, f"Ask it, or open {endpoint.url}/docs" if endpoint.on == "local" else "Ask it")


def _next(endpoint: Endpoint, label: str) -> list[str]:
    if endpoint.state == "stopped":
        return [f"Next: `{start_again(label, endpoint.on, endpoint.champion or endpoint.canary)}`"]
    if endpoint.state != "running":
        return []
    if endpoint.canary and endpoint.champion:
        return [f"Next: `%deploy promote {label}` or `%deploy rollback {label}`"]
    if not endpoint.count:
        return [f"Next: `%deploy run {label} --rows data:NAME` sends traffic"]
    return [f"Next: `%deploy log {label}` · `%cost show {endpoint.uri}`"]


def _load_lead(load: Load) -> str:
    if load.refused or load.errors:
        return f"**Of {load.sent:,} requests {load.refused:,} were refused and {load.errors:,} failed.**"
    return f"**All {load.sent:,} requests were answered**, {load.per_s:,.0f} a second."


def _percent(share: float) -> tuple[str, str]:
    number, _, unit = show_share(share).partition(" ")
    return number, unit


def _ms(value: float | None) -> tuple[str, str]:
    if value is None:
        return "–", ""
    return (f"{value:.3g}", "ms") if value < 999.5 else (f"{value / 1000:.3g}", "s")


def _shown_ms(value: float | None) -> str:
    """A latency as people read it."""
    return " ".join(filter(None, _ms(value)))
