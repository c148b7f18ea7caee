"""What an endpoint serves now, and the judge of its canary, as the thread knows them that decides both.

The fronts are handed each change as a whole, and have it a moment later. What is judged, written down or taken back
here is of the state that was handed over last, never of what they still have: a canary must not be judged by the
requests of the one before it.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence

from ...errors import LabError
from ..record import DesiredState, RuleCounts, Verdict
from .fronts import Fronts
from .judge import Judge
from .predictor import Routes, ServedArm, ServedVersion


class ServedState:
    """To be used on one thread. desired: None before anything is served. versions: URI → what serves it."""

    def __init__(self, fronts: Fronts, look_s: float) -> None:
        self._fronts, self._look_s = fronts, look_s
        self.desired: DesiredState | None = None
        self.versions: dict[str, ServedVersion] = {}
        self._routes = Routes()
        self._judge: Judge | None = None

    def serve(
        self, desired: DesiredState, versions: Mapping[str, ServedVersion], earlier: RuleCounts | None = None
    ) -> None:
        """Serve this from now on, by these versions; what serves no more is retired.

        earlier: what was counted of a canary before, to go on with where it is of the same trial
        """
        self._judge = self._judge_for(desired, earlier)
        arms = [ServedArm(versions[arm.model], arm.role, arm.share) for arm in desired.arms]
        gone = [version for uri, version in self.versions.items() if uri not in versions]
        self.desired, self.versions = desired, dict(versions)
        gc.freeze()  # what lives now lives long: no collection looks at it again
        self._hand_over(Routes(arms, desired.salt, desired.generation, self._judge), gone)

    def take_canary_off(self) -> None:
        """Give its keys to the champion at once, in the same generation: nothing is written yet, and whoever waits must
        not take this for the next one. The judge stays, for its verdict is to be reported.
        """
        routes = self._routes.without_canary()
        routes.judge = self._judge
        self._hand_over(routes)

    @property
    def generation(self) -> int:
        """That of what is served; 0 before anything is."""
        return self.desired.generation if self.desired else 0

    @property
    def problems(self) -> dict[str, LabError]:
        """Of each version that answers nothing now why."""
        found = {uri: version.workers.problem for uri, version in self.versions.items()}
        return {uri: problem for uri, problem in found.items() if problem}

    @property
    def is_judged(self) -> bool:
        """Whether there is a canary that something judges."""
        return self._judge is not None and self._routes.canary is not None

    def evaluate(self) -> Verdict:
        """The verdict on the canary by what was counted until now. Only where it `is_judged`."""
        assert self._judge is not None
        verdict = self._judge.evaluate()
        self._fronts.show(self._judge)
        return verdict

    @property
    def verdict(self) -> Verdict | None:
        """The last one; None where nothing judges."""
        return self._judge.verdict if self._judge else None

    @property
    def evidence(self) -> RuleCounts | None:
        """What the judge has counted, to go on with after a restart."""
        judge, desired = self._judge, self.desired
        return judge.to_record(desired.judged) if judge and desired and desired.judged else None

    def retire(self, versions: Sequence[ServedVersion]) -> None:
        """End versions that were loaded and are not to serve."""
        self._fronts.retire(versions)

    def sample(self) -> None:
        """Remember how the latency of each version wanders; to be called every second or so."""
        for counts in self._fronts.counts.copy().values():
            counts.sample()

    def _judge_for(self, desired: DesiredState, earlier: RuleCounts | None) -> Judge | None:
        """The judge of this canary: the same as before while what it is judged by stays the same."""
        if self._judge and self.desired and self.desired.judged == desired.judged:
            return self._judge
        # A canary that begins another trial at once may not be written down yet with the one before.
        champion = self._fronts.counts.get(desired.champion or "")
        return Judge.of(desired, champion, self.evidence or earlier, self._look_s)

    def _hand_over(self, routes: Routes, gone: Sequence[ServedVersion] = ()) -> None:
        self._routes = routes
        self._fronts.serve(routes, gone)
