"""Today's prices, fetched into the workspace's own table. The shipped file is never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .. import files
from ..config import settings
from ..errors import LabError, UsageProblem
from ..providers import chosen, make
from ..units import counted
from .base import PricesSource
from .prices import Price, fetched_path, read, written

# Each is asked in turn, and takes a cloud some seconds.
MOST_REGIONS = 8


def refresh(provider: str | None, regions: Sequence[str]) -> tuple[str, ...]:
    """Fetch prices of these regions and keep them; notes on what was fetched and what was not.

    What a region had before is replaced. The error of the first region when none could be reached.
    """
    name = provider or chosen("cost.prices_source")
    source: PricesSource = make("cost.prices_source", name)
    asked = list(dict.fromkeys(regions or source.regions()))
    if len(asked) > MOST_REGIONS:
        fix = f"fetch them in turns: what was fetched stays, e.g. --region {','.join(asked[:MOST_REGIONS])}"
        raise UsageProblem(f"{len(asked)} regions are too many at once", fix)
    fetched, problems = _fetch(source, asked)
    if not fetched:
        raise next(iter(problems.values()))
    _keep(name, fetched)
    return tuple(_notes(fetched, problems))


def _fetch(
    source: PricesSource, regions: Sequence[str]
) -> tuple[Mapping[str, Sequence[Price]], Mapping[str, LabError]]:
    fetched, problems = {}, {}
    for region in regions:
        try:
            fetched[region] = source.fetch(region)
        except LabError as problem:
            problems[region] = problem
    return fetched, problems


def _keep(provider: str, fetched: Mapping[str, Sequence[Price]]) -> None:
    path = fetched_path()
    files.make_folder(path.parent)
    new = [price for prices in fetched.values() for price in prices]
    # Also where a region has none any more.
    replaced = {(price.provider, price.region) for price in new} | {(provider, region) for region in fetched}
    # Two that fetch at once would each lose what the other has fetched.
    with files.lock(path.with_suffix(".lock")):
        old = read(path) if path.exists() else []
        kept = [price for price in old if (price.provider, price.region) not in replaced]
        files.write(path, written([*kept, *new]))


def _notes(fetched: Mapping[str, Sequence[Price]], problems: Mapping[str, LabError]) -> Iterator[str]:
    for region, prices in fetched.items():
        yield f"{counted(len(prices), 'price')} of {region} fetched" if prices else f"{region} has no such machine"
    for region, problem in problems.items():
        yield f"{region} was not fetched, what is known of it stays: {problem.what}; {problem.fix}"
    if own := settings().get("cost.prices", ""):
        yield f"`cost.prices` names {own}, which alone counts here: take it out to use what was fetched"
