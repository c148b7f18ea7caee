"""What the noun tells of models: versions, the aliases that point at them, and what an alias keeps from removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..nouns import Details, Fact, Keeping, Noun, Reference, find
from ..resolve import resolve
from ..store import NameIndex, Record, canonical_digest, open_store
from ..uris import Uri, begun_name
from .record import CHAMPION, ModelAliases, ModelVersion, aliases, all_aliases, folder


class ModelsNoun(Noun[ModelVersion]):
    """See `Noun`."""

    name = "models"
    kind = ModelVersion
    more_kinds = (ModelAliases,)
    has_versions = True
    usual_alias = CHAMPION
    plural = "model versions"
    settings: ClassVar = {
        "require": "what every version of every model must satisfy, e.g. auc > 0.7",
        "environments_days": "for how many days environments are kept that no version needs",
        "environments_gib": "how much those environments may take together, in GiB",
        "margin": "by how much of a measure a version may be worse than the champion, e.g. 0.02 or 2%",
    }

    def first(self, name: str) -> str:
        runs = find("train").names()
        run = name if name in runs else next(iter(runs), "")
        if not run:
            return f"train one first: %%train run {name} --rows features:…"
        return f"`%models add {name} --run train:{run}` makes one"

    def digest(self, record: Record[Any]) -> str:
        """Of its files, and of what was measured on which rows: checks and comparisons judge by that too."""
        body: ModelVersion = record.body
        return canonical_digest([body.files, body.metrics, body.rows_digest]) if body.files else ""

    def checked(self, record: Record[ModelVersion]) -> str:
        return record.body.verdict

    def details(self, uri: str) -> Details:
        """See `Noun.details`: what the last check found."""
        body = resolve(uri, ModelVersion).body
        found = body.checked.findings if body.checked else ()
        off = next((one for state in ("bad", "cannot tell") for one in found if one.state == state), None)
        metrics = tuple(Fact(name, f"{value:.4g}") for name, value in body.metrics.items())
        from ..train import environments

        needs = environments.shown(environments.required(folder(Uri.parse(uri).label)))
        runs_by = (Fact("runs by", needs),) if needs else ()
        return Details(
            (*((Fact("checked", "", body.verdict),) if body.verdict else ()), *runs_by, *metrics),
            problem=f"{off.what}: {off.detail}" if off else "",
            fix=off.fix if off else "",
        )

    def aliased(self, name: str, alias: str) -> Uri | None:
        number = aliases(name).get(alias)
        return None if number is None else Uri(self.name, name, number)

    def aliases(self) -> Sequence[str]:
        known = all_aliases()
        return [Uri(self.name, name, alias=alias).label for name in sorted(known) for alias in sorted(known[name])]

    def aliases_beginning(self, starts: str, most: int) -> Sequence[str]:
        store = open_store()
        if not isinstance(store, NameIndex):
            return super().aliases_beginning(starts, most)
        if not starts:
            known = store.list(ModelAliases, limit=most, skip_unreadable=True)
        else:
            models = [begun_name(starts)] if not Uri.is_bare(starts) else store.names([ModelAliases], starts, most)[0]
            # By the store that is open already: to look for it anew takes longer than to read one of them.
            known = [record for model in models if (record := store.get(ModelAliases, model))]
        found = [Uri(self.name, one.name, alias=alias).label for one in known for alias in one.body.aliases]
        return sorted(label for label in found if label.startswith(starts))[:most]

    def references(self) -> Sequence[Reference]:
        # Only what an alias holds: other versions may go, and whoever serves one has a reference of its own.
        return [
            Reference(
                uri=str(Uri(self.name, model.name, number)),
                user=f"{Uri(self.name, model.name, alias=alias)} is",
                release=f"promote another version, or take it away: `%models rm {model.name}@{alias}`",
            )
            for model in open_store().list(ModelAliases)
            for alias, number in model.body.aliases.items()
        ]

    def keepings(self) -> Sequence[Keeping]:
        from . import retention

        return [retention.environments()]

    def reconcile(self) -> Sequence[str]:
        """Bring the other registry to what our records say; what was done, a sentence each."""
        from . import sync

        return sync.reconcile()


NOUN = ModelsNoun()
