"""Random checks, promotions and changes of what a model must satisfy, and what is right, said by other means.

The oracle keeps every bound that was ever asked for, and knows nothing of how the package joins or compares them.
"""

import contextlib
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiinfra_lab import models
from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.files import digests
from aiinfra_lab.models import record
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.artifacts import ROW, model_version
from tests import records

VERSIONS, STEPS = 4, 14
DATA, FILE = "data:flights@1", "columns.json"
# Metric → whether more of it is better. Not every run logs the last.
METRICS = {"auc": True, "loss": False, "f1": True}

Bound = tuple[str, str, float]


@dataclass
class Required:
    """What one source requires: bounds, the margins that were said, and what was named first."""

    bounds: list[Bound] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    measure: str = ""


@dataclass
class World:
    """A model in a workspace, and what is known of it: by its own account of what was asked so far."""

    name: str
    workspace: Path
    measured: dict[int, dict[str, float]] = field(default_factory=dict)
    altered: set[int] = field(default_factory=set)
    model: Required | None = None
    settings: Required = field(default_factory=Required)
    last_champion: int | None = None

    def label(self, version: int) -> str:
        return f"{self.name}@{version}"

    @property
    def allowed(self) -> float:
        said = [*self.settings.margins, *(self.model.margins if self.model else ())]
        return min(said, default=0.0)

    def is_allowed(self, version: int) -> bool:
        """Whether its policy lets that version be promoted now."""
        found = self.measured[version]
        bounds = [*self.settings.bounds, *(self.model.bounds if self.model else ())]
        holds = all(metric in found and _holds(found[metric], sign, value) for metric, sign, value in bounds)
        return holds and version not in self.altered and self._is_good_enough(version)

    def _is_good_enough(self, version: int) -> bool:
        # One from which the alias was taken away counts until there is another.
        holder = models_held(self.name) or self.last_champion
        if holder in (None, version):
            return True
        ours, theirs = self.measured[version], self.measured[holder]
        named = (self.settings.measure, self.model.measure if self.model else "")
        first = next((metric for metric in named if metric), "")
        metric = next(one for one in (first, "auc") if one in ours and one in theirs)
        worse = theirs[metric] - ours[metric] if METRICS[metric] else ours[metric] - theirs[metric]
        return round(worse, 6) <= self.allowed  # what is measured here has three digits, and a float's rest is none

    def note_check(self, bounds: Sequence[Bound], margin: float | None) -> None:
        """A check was carried out that asked for that."""
        if self.model is None:
            self.model = Required(measure=bounds[0][0] if bounds else "")
            is_lower = not self.settings.margins
        else:
            is_lower = False
        if margin is not None and (is_lower or margin <= self.allowed):
            self.model.margins.append(margin)
        self.model.bounds += bounds

    def note_policy(self, bounds: Sequence[Bound] | None, margin: float | None) -> None:
        """The policy was replaced by that, where it says something."""
        self.model = self.model or Required()
        if bounds is not None:
            self.model.bounds, self.model.measure = list(bounds), bounds[0][0] if bounds else ""
        if margin is not None:
            self.model.margins = [margin]


@dataclass
class Tally:
    """What came of the promotions."""

    promoted: int = 0
    refused: int = 0
    wrongly_promoted: list[str] = field(default_factory=list)
    wrongly_refused: list[str] = field(default_factory=list)


def sequence(name: str, workspace: Path, rng: random.Random, tally: Tally) -> None:
    """One model's random story; each promotion is compared with what is right at that moment."""
    world = World(name, workspace)
    for version in range(1, VERSIONS + 1):
        world.measured[version] = _add(world.label(version), rng)
    for _ in range(STEPS):
        rng.choices([*ACTS], [*ACTS.values()])[0](world, rng, tally)
    for version in world.measured:
        checked_promotion(world, version, tally)
    (workspace / "aiinfra.toml").write_text("")


def check(world: World, rng: random.Random, tally: Tally) -> None:
    """Of any version, by any bounds or none."""
    _check(world, rng.randint(1, VERSIONS), _bounds(rng), _margin(rng))


def ask_again(world: World, rng: random.Random, tally: Tally) -> None:
    """Of one version twice, the second time for something that it surely satisfies; and promote it then."""
    version = rng.randint(1, VERSIONS)
    _check(world, version, _bounds(rng), _margin(rng))
    easy: Bound = rng.choice([("loss", "<", 2.0), ("auc", ">", 0.01)])
    _check(world, version, [easy], rng.choice([None, 1.0]))
    _promote(world, version, "champion", tally)


def promote_both(world: World, rng: random.Random, tally: Tally) -> None:
    """Two versions are checked, and then both are promoted, one after the other."""
    pair = rng.sample(range(1, VERSIONS + 1), 2)
    for version in pair:
        _check(world, version, [], None)
    for version in pair:
        _promote(world, version, "champion", tally)


def policy(world: World, rng: random.Random, tally: Tally) -> None:
    """Other bounds, another margin, or both, or no bounds any more."""
    bounds = rng.choice([None, [], _bounds(rng)])
    margin = _margin(rng)
    if bounds is None and margin is None:
        return
    with contextlib.suppress(UsageProblem):
        models.policy(world.name, require=None if bounds is None else _text(bounds) or "none", margin=margin)
        world.note_policy(bounds, margin)


def settings(world: World, rng: random.Random, tally: Tally) -> None:
    """What stands in aiinfra.toml, by which others could be refused that name no metric of theirs."""
    bounds, margin = _bounds(rng, ("auc", "loss")), _margin(rng)
    lines = [f'require = "{_text(bounds)}"'] * bool(bounds) + [f"margin = {margin}"] * (margin is not None)
    (world.workspace / "aiinfra.toml").write_text("\n".join(["[models]", *lines, ""]))
    margins = [] if margin is None else [margin]
    world.settings = Required(bounds, margins, bounds[0][0] if bounds else "")


def alter(world: World, rng: random.Random, tally: Tally) -> None:
    """Another byte in a file, or the file as it was, and promoted as it is then."""
    version = rng.randint(1, VERSIONS)
    path = record.folder(world.label(version)) / FILE
    content = path.read_text()
    path.write_text(content[:-1] if version in world.altered else content + " ")
    world.altered ^= {version}
    _promote(world, version, "champion", tally)


def rollback(world: World, rng: random.Random, tally: Tally) -> None:
    """Back to the champion before, if there was one."""
    with contextlib.suppress(LabError):
        models.rollback(world.name)


def unalias(world: World, rng: random.Random, tally: Tally) -> None:
    """The alias of the champion is taken away, and another version is promoted."""
    world.last_champion = models_held(world.name) or world.last_champion
    with contextlib.suppress(LabError):
        models.rm(f"{world.name}@champion")
    version = rng.randint(1, VERSIONS)
    _check(world, version, [], None)
    _promote(world, version, "champion", tally)


def promote(world: World, rng: random.Random, tally: Tally) -> None:
    """Any version, checked or not, to be the champion or something else."""
    _promote(world, rng.randint(1, VERSIONS), rng.choice(["champion", "champion", "spare"]), tally)


def checked_promotion(world: World, version: int, tally: Tally) -> None:
    """A version that was just checked by its policy is promoted exactly if that lets it."""
    is_right = world.is_allowed(version)
    _check(world, version, [], None)
    if not _promote(world, version, "champion", tally) and is_right:
        tally.wrongly_refused.append(world.label(version))


def _check(world: World, version: int, bounds: list[Bound], margin: float | None) -> None:
    """It may raise or not; what counts is what was asked for."""
    try:
        models.check(world.label(version), require=_text(bounds), margin=margin)
    except UsageProblem:
        return  # a metric that no run of the model logged: nothing was asked for
    except LabError:
        pass
    world.note_check(bounds, margin)


def _promote(world: World, version: int, alias: str, tally: Tally) -> bool:
    is_right = world.is_allowed(version)
    try:
        models.promote(world.label(version), to=alias)
    except LabError:
        tally.refused += 1
        return False
    tally.promoted += 1
    if not is_right:
        tally.wrongly_promoted.append(f"{world.label(version)} to {alias}")
    return True


ACTS: Mapping[Callable[[World, random.Random, Tally], None], int] = {
    check: 6, ask_again: 3, promote_both: 3, policy: 3, settings: 1, alter: 2, rollback: 1, unalias: 1, promote: 4
}  # fmt: skip


def models_held(name: str) -> int | None:
    """The version that is the champion."""
    return record.aliases(name).get("champion")


def _add(label: str, rng: random.Random) -> dict[str, float]:
    """A version with files that pass, and what its run measured."""
    measured = {metric: round(rng.uniform(0.5, 0.9), 3) for metric in METRICS if metric != "f1" or rng.random() < 0.5}
    bias = rng.uniform(-2, 2)
    model_version(label, bias)
    folder = record.folder(label)
    example = {"rows": [ROW], "scores": [1 / (1 + math.exp(-bias))]}
    (folder / "example.json").write_text(json.dumps(example))
    files = digests(folder)
    record.change(label, rows=DATA, rows_digest="d", metrics=measured, files=files, checked=None)
    return measured


def _bounds(rng: random.Random, metrics: Sequence[str] = tuple(METRICS)) -> list[Bound]:
    """Up to two bounds, mostly such as some versions satisfy; now and then in the other direction."""
    found = []
    for metric in rng.sample(metrics, rng.choice([0, 0, 1, 1, 2])):
        wants_more = METRICS[metric] != (rng.random() < 0.05)
        value = round(rng.uniform(0.35, 0.7) if wants_more else rng.uniform(0.7, 1.0), 3)
        found.append((metric, rng.choice([">", ">="] if wants_more else ["<", "<="]), value))
    return found


def _margin(rng: random.Random) -> float | None:
    return rng.choice([None, None, None, 0.0, round(rng.uniform(0, 0.4), 2)])


def _text(bounds: Sequence[Bound]) -> str | None:
    return " and ".join(f"{metric} {sign} {value}" for metric, sign, value in bounds) or None


def _holds(measured: float, sign: str, value: float) -> bool:
    tests: Mapping[str, bool] = {
        ">": measured > value,
        ">=": measured >= value,
        "<": measured < value,
        "<=": measured <= value,
    }
    return tests[sign]


def stories(many: int, workspace: Path) -> Iterator[Tally]:
    """So many models, each with its own story; one tally of all, after each."""
    records.data("flights@1", digest="d")
    tally = Tally()
    for number in range(many):
        sequence(f"m{number}", workspace, random.Random(number), tally)
        yield tally
    open_store().close()
