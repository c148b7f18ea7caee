"""What the noun tells of runs: each is a version of its name, lives in a notebook or a session, and ends there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from .. import nouns
from ..errors import NotFound
from ..nouns import Details, Keeping, Noun, Observation, Span
from ..resolve import resolve, resolve_any
from ..store import Record, canonical_digest, open_store
from ..uris import Uri
from . import details
from .observing import ObservedTraining, observe, request_stop
from .record import TrainingRun


class TrainNoun(Noun[TrainingRun]):
    """See `Noun`."""

    name = "train"
    settings: ClassVar = {
        "tracking_uri": "the MLflow server that runs and models are sent to",
        "holdout_days": "for how many days hold-outs are kept that no comparison needs",
        "holdout_gib": "how much those hold-outs may take together, in GiB",
    }
    kind = TrainingRun
    has_versions = True
    usual_alias = "champion"
    plural = "runs"

    def first(self, name: str) -> str:
        return f"`%%train run {name} --rows ROWS` trains one"

    def digest(self, record: Record[Any]) -> str:
        """Of a run that is done, of the model that it saved, what was measured, and what both came of."""
        run: TrainingRun = record.body
        if run.state != "done" or not run.files:
            return ""
        stored = run.stored.digest if run.stored else ""
        made_of = (run.code_digest, run.rows_digest, run.params, run.seed, run.holdout, stored)
        return canonical_digest([run.files, run.metrics, *made_of])

    def aliases(self) -> Sequence[str]:
        return nouns.find("models").aliases()

    def aliases_beginning(self, starts: str, most: int) -> Sequence[str]:
        return nouns.find("models").aliases_beginning(starts, most)

    def aliased(self, name: str, alias: str) -> Uri | None:
        """The run behind the model version that holds the alias. Its name may be another than the model's."""
        models = nouns.find("models")
        version = models.aliased(name, alias)
        if version is None:
            newest = next((label for label in models.names() if Uri.parse(label, noun="models").bare.name == name), "")
            promoted = f"`%models promote {newest} --to {alias}` makes one"
            raise NotFound(
                f"there is no {alias} of {Uri('models', name)} yet", promoted if newest else models.first(name)
            )
        return Uri.parse(resolve_any(version).body.run, self.name)

    def observe(self, records: Sequence[Record[TrainingRun]]) -> Sequence[Observation]:
        return list(map(_observation, observe(records)))

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        store = open_store()
        open_runs = observe(store.list(TrainingRun, is_open=True, skip_unreadable=True))
        # Of those that the tracking server knows to their end, the last ones that were written ended last.
        closed = observe(store.list(TrainingRun, is_open=False, limit=ended, order="written", skip_unreadable=True))
        over = [run for run in (*open_runs, *closed) if not run.is_live]
        over.sort(key=lambda run: run.ended_at or 0.0, reverse=True)
        return [*map(_observation, (run for run in open_runs if run.is_live)), *map(_observation, over[:ended])]

    def details(self, uri: str) -> Details:
        record = open_store().get(TrainingRun, Uri.parse(uri).label)
        return details.details(observe([record])[0]) if record else super().details(uri)

    def stop(self, uri: str) -> Sequence[str]:
        run = resolve(uri, TrainingRun)
        if not observe([run])[0].is_live:
            raise NotFound(f"{run.uri} is over", f"`%train show {run.name}` says how it ended")
        return request_stop(run)

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        return list(map(_span, observe(open_store().list(TrainingRun, skip_unreadable=True))))

    def keepings(self) -> Sequence[Keeping]:
        from . import retention

        return [retention.holdouts()]

    def reconcile(self) -> Sequence[str]:
        """Send the tracking server what it missed or lost; what was done, a sentence each."""
        from . import sync

        return sync.catch_up(verify=True)


def _observation(run: ObservedTraining) -> Observation:
    asked_at = run.job.body.stop_requested_at if run.job else run.record.body.stop_requested_at
    return Observation(
        uri=run.record.uri,
        state=run.state,
        is_live=run.is_live,
        started_at=run.record.body.started_at,
        ended_at=run.ended_at,
        detail=run.record.body.problem.what,
        can_stop=run.is_live and asked_at is None,
        job=run.job.name if run.job else "",
        figure=details.figure(run),
        facts=details.facts(run),
        within=run.record.body.on,
    )


def _span(run: ObservedTraining) -> Span:
    body = run.record.body
    # One that waits for a busy session takes nobody's time yet: it has a span once its job is there.
    is_live = run.job is not None
    ended_at = time.time() if is_live else run.ended_at or body.started_at
    return Span(run.record.uri, body.started_at, ended_at, is_live, within=body.on)


NOUN = TrainNoun()
