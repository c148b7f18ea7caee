"""Whether a version may get an alias: a passed check of the policy in force, on the files that it has now."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Failed, Inconclusive, LabError
from ..resolve import files_of
from ..store import Record
from . import artifact, policies, record
from .record import CHAMPION, LastCheck, ModelAliases, ModelVersion


def admit(version: Record[ModelVersion], known: ModelAliases) -> None:
    """Raise what speaks against giving the version an alias of the model now; Failed, or Inconclusive."""
    if problem := objection(version, known):
        raise problem
    if off := altered(version):
        raise Failed(f"the files of {version.uri} changed since it was checked: {off}", artifact.added_again(version))


def altered(version: Record[ModelVersion]) -> str:
    """What of its files is not as it was recorded; all of them are read for it."""
    return "; ".join(artifact.differences(files_of(version.uri, record.folder(version.name)), version.body.files))


def objection(version: Record[ModelVersion], known: ModelAliases | None = None) -> LabError | None:
    """What speaks against it by its last check and what changed since; its files are not looked at.

    known: the model's own record, where the caller has it
    """
    known = known or record.of_model(version.base).body
    checked, again = version.body.checked, f"`%models check {version.name}`"
    if checked is None:
        return Failed(f"{version.uri} has not been checked", f"{again} must find it good first")
    if since := outdated(version, Standard.of(version.base, known)):
        return Failed(f"{version.uri} was checked, and {since}", f"{_again(version, checked)} must find it good first")
    if checked.verdict == "good":
        return None
    kind = Failed if checked.verdict == "bad" else Inconclusive
    what = f"{version.uri} was checked, and the verdict was: {checked.verdict}"
    return kind(what, f"`%models show {version.name}` shows why; {again} must find it good first")


@dataclass(frozen=True, slots=True)
class Standard:
    """What a version of a model is held against now. champion: None while none was; is_last: it holds no alias now."""

    policy: str
    champion: int | None
    is_last: bool

    @classmethod
    def of(cls, name: str, known: ModelAliases) -> Standard:
        """Of the model of that name and record. UsageProblem where the settings require what cannot be read."""
        is_last = CHAMPION not in known.aliases
        return cls(policies.in_force(known.policy).digest, record.champion(known, name), is_last)


def outdated(version: Record[ModelVersion], now: Standard) -> str:
    """Why its last check says nothing any more, as the end of a sentence; empty while it does, or without one.

    Its files are not looked at.
    """
    checked, model = version.body.checked, f"models:{version.base}"
    if checked is None:
        return ""
    if not checked.policy:
        return "that was by an earlier version of this package, which kept no policy"
    if checked.policy != now.policy:
        return f"the policy of {model} changed since"
    if checked.files != artifact.digest(version.body.files):
        return "its files were recorded anew since"
    if now.champion in (None, version.version, checked.champion):
        return ""
    if not now.is_last:
        return f"{model}@{now.champion} became the champion since"
    return f"it was not compared with {model}@{now.champion}, the last champion"


def _again(version: Record[ModelVersion], checked: LastCheck) -> str:
    """The command that checks it again; of a check that kept no policy by the same bounds."""
    flags = [] if checked.policy else policies.flags(checked.require, checked.margin)
    return f"`%models check {' '.join([version.name, *flags])}`"
