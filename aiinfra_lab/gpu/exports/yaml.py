"""YAML as people write it: in the order that was given, texts of several lines as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def written(given: Mapping[str, Any]) -> str:
    """The text of a document."""
    import yaml  # takes as long as this whole noun

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {})  # one of our own: its representers are its class's
    dumper.add_representer(str, _text)
    return str(yaml.dump(dict(given), Dumper=dumper, sort_keys=False, allow_unicode=True, width=1_000))


def _text(dumper: Any, given: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", given, style="|" if "\n" in given else None)
