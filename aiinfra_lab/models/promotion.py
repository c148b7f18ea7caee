"""Whether a version may get an alias: a passed check of the policy in force, on the files that it has now."""

from __future__ import annotations

from ..errors import Failed, Inconclusive, LabError
from ..resolve import files_of
from ..store import Record
from . import artifact, policies, record
from .record import CHAMPION, LastCheck, ModelAliases, ModelVersion


def admit(version: Record[ModelVersion], known: ModelAliases) -> None:
    """Raise what speaks against giving the version an alias of the model now; Failed, or Inconclusive."""
    if problem := objection(version, known):
        raise problem
    folder = files_of(version.uri, record.folder(version.name))
    if off := artifact.differences(folder, version.body.files):
        what = f"the files of {version.uri} changed since it was checked: {'; '.join(off)}"
        raise Failed(what, artifact.added_again(version))


def objection(version: Record[ModelVersion], known: ModelAliases | None = None) -> LabError | None:
    """What speaks against it by its last check and what changed since; its files are not looked at.

    known: the model's own record, where the caller has it
    """
    known = known or record.of_model(version.base).body
    checked, again = version.body.checked, f"`%models check {version.name}`"
    if checked is None:
        return Failed(f"{version.uri} has not been checked", f"{again} must find it good first")
    if since := outdated(version, known):
        return Failed(f"{version.uri} was checked, and {since}", f"{_again(version, checked)} must find it good first")
    if checked.verdict == "good":
        return None
    kind = Failed if checked.verdict == "bad" else Inconclusive
    what = f"{version.uri} was checked, and the verdict was: {checked.verdict}"
    return kind(what, f"`%models show {version.name}` shows why; {again} must find it good first")


def outdated(version: Record[ModelVersion], known: ModelAliases) -> str:
    """Why its last check says nothing any more, as the end of a sentence; empty while it does, or without one."""
    checked, model = version.body.checked, f"models:{version.base}"
    if checked is None:
        return ""
    if not checked.policy:
        return "that was by an earlier version of this package, which kept no policy"
    if checked.policy != policies.in_force(known.policy).digest:
        return f"the policy of {model} changed since"
    if checked.files != artifact.digest(version.body.files):
        return "its files were recorded anew since"
    champion = record.champion(known, version.base)
    if champion in (None, version.version, checked.champion):
        return ""
    if CHAMPION in known.aliases:
        return f"{model}@{champion} became the champion since"
    return f"it was not compared with {model}@{champion}, the last champion"


def _again(version: Record[ModelVersion], checked: LastCheck) -> str:
    """The command that checks it again; of a check that kept no policy by the same bounds."""
    flags = [] if checked.policy else policies.flags(checked.require, checked.margin)
    return f"`%models check {' '.join([version.name, *flags])}`"
