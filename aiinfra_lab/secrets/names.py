"""Which names are those of secrets, and which texts are none: one list, for the redactor and for the lint rules."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_KEYS = r"api_?key|secret_?key|access_?key|private_?key"
_STRONG = rf"pass(?:word|wd|phrase)|secret|{_KEYS}"
# Behind the word: which of several it is.
_WHICH = r"(?:_?\d+|_(?:prod|production|live|staging|stage|dev|test|old|new|primary|secondary))*"

LITERAL_NAME = re.compile(rf"(?:^|_)(?:({_STRONG})|(token))$", re.IGNORECASE)
"""Of a name in code: a text that it is given is a secret, of the second group if it looks like one."""

VARIABLE = re.compile(
    rf"(?:^|_)(?:{_STRONG}|keys?|token|secrets|(?<=_)(?:pat|pwd)|credentials?|webhook(?:_?url)?){_WHICH}$",
    re.IGNORECASE,
)
"""Of the names of the environment's variables that hold secrets; without groups that are read."""

ENV_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
"""A text that is the name of a variable of the environment, and so no secret."""

PLACEHOLDER = re.compile(
    r"(?i)[<\[{$%].*|.*(?:\.\.\.|…|\*\*\*|xxx).*|(?:your|my|some|the|a|an|enter|insert|put|replace)[\s_-].*"
    r"|change[\s_-]?(?:me|it|this)|placeholder|dummy|example|none|null|todo|test|secret|password|token|redacted"
    r"|(?:[A-Z][A-Z0-9]*_)+[A-Z0-9]+"
)
# The bounds keep it linear: no address that is meant is longer.
URL_PASSWORD = re.compile(r"://[^\s/:@'\"{}$<]{1,200}:([^\s/@'\"{}$<]{3,400})@")
"""The password in `scheme://user:password@host` is its first group."""

SHORTEST = 6
_MOST_DIGITS = 9
# What switches are set to. A password that is one of these protects nothing, and each text about it would be cut.
_WORDS = {
    "always", "change-me", "change_me", "changeme", "default", "disabled", "dummy", "enabled", "example",
    "false", "latest", "localhost", "never", "nothing", "optional", "password", "placeholder", "prefer",
    "private", "production", "public", "redacted", "required", "secret", "staging", "testing", "undefined",
    "unknown",
}  # fmt: skip


@lru_cache(maxsize=1024)
def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment of that name holds a secret: one that ends in KEY, TOKEN and the like."""
    return VARIABLE.search(name) is not None


def is_secret(value: str) -> bool:
    """Whether a text can be taken out wherever it stands, because it hardly stands anywhere by chance.

    Not shorter ones than six characters, small numbers, words that switches are set to, and texts of one or two
    different characters: the outputs would be full of gaps that hide nothing. Nor names of other variables, and paths
    of what is there: those say where a secret is.
    """
    if len(value) < SHORTEST or len(set(value)) < 3 or value.lower() in _WORDS:
        return False
    is_count = re.fullmatch(r"[\d.,:+-]+", value) and sum(map(str.isdigit, value)) <= _MOST_DIGITS
    return not (is_count or ENV_NAME.fullmatch(value) or _is_path(value))


def _is_path(value: str) -> bool:
    """Whether it is a path of this machine; by its first folder, since a key may begin with a slash too."""
    if not re.fullmatch(r"(?:~|\.{1,2})?/[\w.@+~ -]+(?:/[\w.@+~ -]*)*", value):
        return False
    return not value.startswith("/") or Path("/", value.split("/")[1]).is_dir()
