"""From a URI to the record that it means: the newest version, a numbered one, what an alias points at, or a part."""

from __future__ import annotations

import difflib
import time
from pathlib import Path
from typing import Any

from . import nouns
from .errors import NotFound, UsageProblem, did_you_mean
from .store import B, Record, open_store
from .uris import Uri

# How alike two words are when one is the other with a letter missing, added or in another place.
_LIKE = 0.8


def resolve(text: object, kind: type[B], *, removed: bool = False) -> Record[B]:
    """The record that a URI, or a name where the kind fixes the noun, means now.

    removed: also one that was removed, which keeps its record. NotFound says what there is, UsageProblem what is wrong
    with the words, such as a version where the noun has none.
    """
    noun = nouns.find(noun_of(kind))
    uri = Uri.parse(text, noun=noun.name)
    wanted: Any = noun.part_kind if uri.part else noun.kind
    if wanted is not kind:
        raise UsageProblem(f"{uri} is no {_what(kind)}", f"write {_form(noun, kind)}")
    return _resolve(noun, uri, kind, removed=removed, in_full=isinstance(text, str) and ":" in text)


def files_of(uri: str, path: Path) -> Path:
    """That folder, which holds the files of a thing. NotFound when it is not in this workspace's own folder."""
    if path.is_dir():
        return path
    raise NotFound(
        f"the files of {uri} are not in this workspace's folder",
        "where several folders share a store, do this in the one that made it; else make it again",
    )


def resolve_any(text: object, *, removed: bool = False) -> Record[Any]:
    """The record that a URI of any noun means now; see `resolve`."""
    uri = Uri.parse(text)
    noun = nouns.find(uri.noun)
    kind: Any = noun.part_kind if uri.part else noun.kind
    if kind is None:
        raise UsageProblem(f"{uri} names nothing that {uri.noun} keeps", f"`%{uri.noun} --help` lists its verbs")
    return _resolve(noun, uri, kind, removed=removed)


def resolve_if_set(text: object, kind: type[B]) -> Record[B] | None:
    """The record as `resolve` finds it; None for an alias that points at nothing yet.

    NotFound for whatever else is not there, also for what looks like a misspelled alias or name.
    """
    noun = nouns.find(noun_of(kind))
    uri = Uri.parse(text, noun=noun.name)
    try:
        return resolve(uri, kind)
    except NotFound:
        if uri.alias is None or _alias_meant(noun, uri):
            raise
        return None


def refuse_unknown(text: object, kind: type[Any]) -> None:
    """NotFound, as `resolve` raises it, where there never was a version of that name: its list is empty by mistake."""
    resolve(Uri.parse(text, noun=noun_of(kind)).bare, kind, removed=True)


def exists(text: object) -> bool:
    """Whether a URI means something that was not removed."""
    try:
        resolve_any(text)
    except NotFound:
        return False
    return True


def noun_of(kind: type[Any]) -> str:
    """The noun that a kind of record belongs to."""
    name: str = kind.kind
    return name.partition(".")[0]


def _resolve(noun: nouns.Noun[Any], uri: Uri, kind: type[B], *, removed: bool, in_full: bool = True) -> Record[B]:
    """in_full: whether what there is instead is told with its noun, as it was asked for."""
    if uri.tag and not noun.has_versions:
        raise UsageProblem(f"{noun.name} has no versions, and {uri} names one", f"write {uri.bare}")
    if uri.alias is not None:
        uri = _aliased(noun, uri, uri.alias, in_full=in_full)
    newest = noun.has_versions and not uri.tag and not uri.part  # a part without its version names nothing
    found = _newest(uri, kind) if newest else open_store().get(kind, uri.label)
    if found is None:
        raise NotFound(f"there is no {uri}", _known(noun, uri, in_full=in_full))
    if found.body.is_removed and not removed:
        at = time.strftime("%Y-%m-%d", time.localtime(found.body.removed_on))
        raise NotFound(f"{uri} was removed on {at}", _known(noun, uri, in_full=in_full))
    return found


def _aliased(noun: nouns.Noun[Any], uri: Uri, alias: str, *, in_full: bool) -> Uri:
    """The version that an alias points at. NotFound says what there is, or how to set it."""
    start = f"{noun.name}:" * in_full
    try:
        version = noun.aliased(uri.name, alias)
    except NotFound:
        if meant := _alias_meant(noun, uri):
            raise NotFound(f"there is no {uri}", f"did you mean {start}{meant}?") from None
        raise
    if version is None:
        meant = _alias_meant(noun, uri)
        is_known = any(Uri.parse(label, noun=noun.name).name == uri.name for label in noun.names())
        what = f"there is no {alias} of {uri.bare} yet" if is_known else f"there is no {uri.bare}"
        raise NotFound(what, f"did you mean {start}{meant}?" if meant else _known(noun, uri, in_full=in_full))
    return version


def _alias_meant(noun: nouns.Noun[Any], uri: Uri) -> str:
    """What a label with an alias that points at nothing was probably meant to be; empty when it is spelled right."""
    set_now = noun.aliases()
    names = {Uri.parse(label, noun=noun.name).name for label in (*noun.names(), *set_now)}
    if uri.name not in names:
        near = difflib.get_close_matches(uri.name, names, n=1, cutoff=_LIKE)
        # Longer or shorter by a word is another name: a model called after its run.
        return f"{near[0]}@{uri.alias}" if near and not (near[0] in uri.name or uri.name in near[0]) else ""
    known = {noun.usual_alias, *(Uri.parse(label, noun=noun.name).alias for label in set_now)} - {"", None}
    if uri.alias is None or uri.alias in known:
        return ""
    begun = [alias for alias in known if alias and alias.startswith(uri.alias)]
    near = begun or difflib.get_close_matches(uri.alias, filter(None, known), n=1, cutoff=_LIKE)
    return f"{uri.name}@{near[0]}" if near and near[0] not in uri.alias else ""


def _newest(uri: Uri, kind: type[B]) -> Record[B] | None:
    """The newest version that is still there; one that was removed only when there is no other."""
    store = open_store()
    newest = store.list(kind, name=uri.name, limit=1)  # nearly always enough, and a name may have thousands
    if not newest or not newest[0].body.is_removed:
        return next(iter(newest), None)
    versions = store.list(kind, name=uri.name)
    return next((record for record in versions if not record.body.is_removed), versions[0])


def _known(noun: nouns.Noun[Any], uri: Uri, *, in_full: bool) -> str:
    """What there is of that name, or which names there are, or how to make the first."""
    start = f"{noun.name}:" * in_full
    assert noun.kind is not None
    if noun.has_versions:
        found = open_store().list(noun.kind, name=uri.name, skip_unreadable=True)
        versions = [record for record in found if not record.body.is_removed]
        if versions:
            held = [label for label in noun.aliases() if Uri.parse(label, noun=noun.name).name == uri.name]
            labels = [*held[:3], *(record.name for record in versions[:8])]
            return "there are: " + ", ".join(f"{start}{label}" for label in labels)
    names, first = noun.names(), noun.first(uri.name)
    # A recipe is there before it has run: its own name would be no suggestion.
    typed = [f"{start}{name}" for name in names]
    return first if uri.name in names else did_you_mean(f"{start}{uri.name}", typed, first)


def _what(kind: type[Any]) -> str:
    return str(kind.kind)


def _form(noun: nouns.Noun[Any], kind: type[Any]) -> str:
    return f"{noun.name}:NAME@N#part" if kind is noun.part_kind else f"{noun.name}:NAME" + "@N" * noun.has_versions
