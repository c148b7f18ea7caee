"""Two feature sets, compared by meaning: what a model would get, and from where."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import msgspec

from ..resolve import refuse_unknown, resolve
from ..uris import Uri
from .record import FeatureSetVersion, Spec, TypedColumn, ViewSpec
from .results import FeatureDifference
from .sets import find_or_none

Change = tuple[str, str, str]


def difference(name: object, other: object) -> FeatureDifference:
    """What happened from one to the other; where a version does not exist, everything is new, or gone.

    NotFound when neither exists, or there never was a feature set of that name.
    """
    before, after = find_or_none(name), find_or_none(other)
    if before is None and after is None:
        resolve(name, FeatureSetVersion)
    for text in (name, other):
        refuse_unknown(text, FeatureSetVersion)
    old, new = (record.body if record else None for record in (before, after))
    had, has = (spec.types if spec else {} for spec in (old, new))
    missing = [text for text, spec in ((name, old), (other, new)) if spec is None]
    return FeatureDifference(
        uri=old.uri if old else str(Uri.parse(name, noun=FeatureSetVersion.kind)),
        other=new.uri if new else str(Uri.parse(other, noun=FeatureSetVersion.kind)),
        gone=tuple(feature for feature in had if feature not in has),
        new=tuple(feature for feature in has if feature not in had),
        changed=tuple(_changed(old, new)) if old and new else (),
        code=_code_diff(old, new) if old and new else "",
        note=f"{missing[0]} does not exist" if missing else "",
    )


def _code_diff(before: Spec, after: Spec) -> str:
    old, new = before.code.splitlines(), after.code.splitlines()
    return "\n".join(difflib.unified_diff(old, new, before.record_name, after.record_name, lineterm=""))


def _changed(before: Spec, after: Spec) -> Iterator[Change]:
    for name in ("timestamp", "label", "row_id"):
        yield from _differs(name, getattr(before, name), getattr(after, name))
    for name, kind in before.types.items():
        if name in after.types:
            yield from _differs(name, kind, after.types[name])
    # A model reads features by position, so the same ones in another order are a change.
    kept = [name for name in before.features if name in after.types]
    if kept != [name for name in after.features if name in before.types]:
        yield "order", ", ".join(before.features), ", ".join(after.features)
    views = {view.name: view for view in after.views}
    for view in before.views:
        if view.name in views:
            yield from _view_changes(view, views[view.name])


def _view_changes(before: ViewSpec, after: ViewSpec) -> Iterator[Change]:
    for field in msgspec.structs.fields(ViewSpec):
        # Features are compared across views: one that moved to another view is the same to a model.
        if field.name not in ("name", "features"):
            old, new = getattr(before, field.name), getattr(after, field.name)
            yield from _differs(f"{before.name}: {field.name}", old, new)


def _differs(what: str, before: object, after: object) -> Iterator[Change]:
    if before != after:
        yield what, _shown(before), _shown(after)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(item.name if isinstance(item, TypedColumn) else str(item) for item in value)
    return str(value) if value else "–"
