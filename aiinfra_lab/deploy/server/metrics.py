"""The endpoint's counts in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .counts import SHOWN_MS, Counts
from .predictor import Predictor
from .tallies import Tallies, summed, total

KIND = b"text/plain; version=0.0.4; charset=utf-8"


def text(name: str, predictor: Predictor, counts: Mapping[str, Counts], tallies: Sequence[Tallies]) -> bytes:
    """All metrics of an endpoint, of its fronts together: by version, then its own, with what its sockets have seen."""
    lines: list[str] = []
    by_version = sorted(counts.items())
    for metric, what, field in (
        ("requests_total", "Requests that were predicted.", "requests"),
        ("rows_total", "Rows that were predicted.", "rows"),
        ("errors_total", "Requests of which at least one row got no finite score.", "errors"),
        ("processes_lost_total", "Processes of the version that died or hung, and were replaced.", "lost"),
        ("contract_refusals_total", "Requests whose rows broke the version's columns contract.", "refused"),
    ):
        samples = ((_labels(name, model=uri), getattr(item, field)) for uri, item in by_version)
        lines += _metric(metric, "counter", what, samples)
    # The head alone: Prometheus takes one for each metric, before the samples of all versions.
    lines += _metric("request_seconds", "histogram", "Time from a request's last byte to its scores.", ())
    for uri, item in by_version:
        lines += _histogram(name, uri, item)
    arms = predictor.routes.arms
    shares = ((_labels(name, model=arm.version.model.uri, role=arm.role), arm.share) for arm in arms)
    shadowed = ((_labels(name, model=uri), item.shadowed.requests) for uri, item in by_version if item.shadowed)
    lines += _metric("shadowed_requests_total", "counter", "Requests that a version was asked as a shadow.", shadowed)
    lines += _metric("arm_share", "gauge", "Share of the keys that an arm gets; of a shadow, of the requests.", shares)
    own = _labels(name)
    for metric, what, label, column in (
        ("answers_total", "Answers to requests of any kind.", "status", "answers"),
        ("refused_total", "Requests that were answered without a prediction.", "status", "refused"),
        ("faults_total", "Requests that broke HTTP or its limits, or failed in the endpoint.", "kind", "faults"),
        ("dropped_connections_total", "Connections that were closed without an answer.", "reason", "dropped"),
    ):
        table = sorted(total(tallies, column).items())
        samples = ((_labels(name, **{label: key}), count) for key, count in table)
        lines += _metric(metric, "counter", what, samples)
    for metric, kind, what, value in (
        ("canary_share", "gauge", "Share of the keys that the canary gets.", predictor.routes.canary_share),
        (
            "shadow_skipped_total",
            "counter",
            "Requests that the shadow was spared, since it was behind.",
            summed(tallies, "shadow_skipped"),
        ),
        ("waiting_requests", "gauge", "Requests taken and not yet answered.", summed(tallies, "waiting")),
        ("log_lost_rows_total", "counter", "Predicted rows that are missing in the log.", summed(tallies, "log_lost")),
        ("connections", "gauge", "Open connections.", summed(tallies, "connections")),
        ("ready", "gauge", "Whether requests are taken.", int(predictor.ready)),
    ):
        lines += _metric(metric, kind, what, [(own, value)])
    return ("\n".join(lines) + "\n").encode()


def _metric(metric: str, kind: str, what: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP aiinfra_endpoint_{metric} {what}"
    yield f"# TYPE aiinfra_endpoint_{metric} {kind}"
    for labels, value in samples:
        yield f"aiinfra_endpoint_{metric}{labels} {value}"


def _histogram(name: str, uri: str, counts: Counts) -> Iterator[str]:
    metric = "aiinfra_endpoint_request_seconds"
    for edge in SHOWN_MS:
        yield f"{metric}_bucket{_labels(name, model=uri, le=f'{edge / 1000:g}')} {counts.at_most(edge)}"
    yield f"{metric}_bucket{_labels(name, model=uri, le='+Inf')} {sum(counts.buckets)}"
    yield f"{metric}_sum{_labels(name, model=uri)} {counts.busy_ms / 1000:.6f}"
    yield f"{metric}_count{_labels(name, model=uri)} {sum(counts.buckets)}"


def _labels(name: str, **labels: str) -> str:
    # Names and URIs have no quotes, backslashes or line ends: nothing is to be escaped.
    pairs = {"endpoint": name, **labels}
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"
