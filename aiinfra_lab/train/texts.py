"""Texts as a model's inputs: the tokenizers that go with the model, and the arrays that its network takes.

A model of texts has files besides: `tokenizer.json`, as the library tokenizers writes it, with the length at which
texts are cut, and `tokenizer-2.json` and so on where some of its texts have another; and `texts.json`, which inputs
they are, which tokenizer reads each, and what the network calls what is made of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import files
from ..errors import Damaged, Missing, Unavailable, UsageProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOKENIZER, TEXTS = "tokenizer.json", "texts.json"
_TOKENIZER = re.compile(r"tokenizer(-\d+)?\.json")
# Where a tokenizer has no length of its own: most encoders end there.
USUAL_TOKENS = 512
# A tokenizer reads a text to its end before it cuts it. No language has tokens that are so long on average.
_CHARACTERS_A_TOKEN = 100
_PADDING = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>")
# So much of a text is logged, and judged by its words: enough for a page.
LOGGED_CHARACTERS = 2_000


class TextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the texts of an input become tokens.

    ids, mask: what the network calls its tokens, and where there are some; mask is empty where it takes none.
    padding: the token that fills shorter texts up. digest: of the tokenizer's file, SHA-256.
    """

    name: str
    ids: str
    mask: str
    most_tokens: int
    vocabulary: int
    padding: int
    digest: str
    file: str = TOKENIZER

    def __post_init__(self) -> None:
        if not _TOKENIZER.fullmatch(self.file):
            raise ValueError(f"{self.file!r} is no file of a tokenizer")

    @property
    def detail(self) -> str:
        """What it reads, in a sentence."""
        return (
            f"Of `{self.name}` it reads the first {self.most_tokens:,} tokens, of the {self.vocabulary:,} of its "
            f"tokenizer, in at most {self.most_tokens * _CHARACTERS_A_TOKEN:,} characters; what is beyond is cut off."
        )


class LongText(msgspec.Struct, frozen=True):
    """A text as it is logged where it is longer than what is kept of it."""

    begins: str
    characters: int
    words: int


class TextEncoder:
    """A tokenizer, as one model uses it. tokenizer: of the library of that name, with the length at which it cuts."""

    def __init__(self, tokenizer: Any, made_of: TextInput) -> None:
        self.tokenizer = tokenizer
        self.input = made_of

    @classmethod
    def of(cls, given: Any, name: str, *, has_mask: bool = True, before: str = "") -> TextEncoder:
        """The encoder of that input by a tokenizer that somebody gave, of tokenizers or of transformers.

        It stays as it is. before: what the names of its tokens begin with. UsageProblem for anything else, and for one
        that draws at random.
        """
        found = getattr(given, "backend_tokenizer", given)
        if not hasattr(found, "to_str") or not hasattr(found, "get_vocab"):
            raise UsageProblem(
                f"a {type(given).__name__} is no tokenizer",
                "give one of the library tokenizers: `tokenizer=Tokenizer.from_file('tokenizer.json')`",
            )
        text = found.to_str()
        if json.loads(text)["model"].get("dropout"):
            raise UsageProblem("the tokenizer drops tokens at random", "write `tokenizer.model.dropout = None`")
        own = _parsed(text)
        if own.truncation is None:
            own.enable_truncation(USUAL_TOKENS)
        padding = found.padding["pad_id"] if found.padding else _padding(own)
        own.no_padding()
        body = own.to_str(pretty=True).encode()
        vocabulary = max(own.get_vocab(with_added_tokens=True).values(), default=0) + 1
        made_of = TextInput(
            name,
            f"{before}input_ids",
            f"{before}attention_mask" if has_mask else "",
            int(own.truncation["max_length"]),
            vocabulary,
            padding,
            hashlib.sha256(body).hexdigest(),
        )
        return cls(own, made_of)

    @classmethod
    def read(cls, folder: Path, made_of: TextInput) -> TextEncoder:
        """That of an input of a model's folder. Unavailable where its file lacks, Damaged where it is another one."""
        body = _content(folder, made_of.file)
        if hashlib.sha256(body).hexdigest() != made_of.digest:
            raise Damaged(
                f"{made_of.file} is not the one that the model was saved with", f"take the model's {made_of.file} again"
            )
        return cls(_parsed(body.decode(), made_of.file), made_of)

    @property
    def names(self) -> tuple[str, ...]:
        """What the network calls the arrays that it makes."""
        return (self.input.ids, self.input.mask) if self.input.mask else (self.input.ids,)

    def encode(self, texts: Sequence[str], least: int = 1) -> dict[str, NDArray[np.int64]]:
        """The texts' tokens, shorter ones filled up. least: so many places there are, also where texts have none."""
        # One by one: in threads of its own the library would take the cores that other models answer on.
        return self.filled([self.tokenizer.encode(self._beginning(text)).ids for text in texts], least)

    def filled(self, ids: Sequence[Sequence[int]], least: int = 1) -> dict[str, NDArray[np.int64]]:
        """Lists of tokens as the arrays that the network takes."""
        import numpy as np

        longest = max([least, *map(len, ids)])
        found = np.full((len(ids), longest), self.input.padding, np.int64)
        mask = np.zeros((len(ids), longest), np.int64)
        for at, row in enumerate(ids):
            # On the right, where positions that count from the left stay what they are.
            found[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return dict(zip(self.names, (found, mask), strict=False))

    def decoded(self, tokens: NDArray[np.int64]) -> NDArray[np.object_]:
        """Rows of tokens as texts, without those that only mark something, such as a beginning or what fills up."""
        import numpy as np

        # Below 0 there is none: some networks say so that a place is empty.
        texts = [self.tokenizer.decode([token for token in row if token >= 0]) for row in tokens.tolist()]
        return np.array([*texts, None], object)[:-1]

    def _beginning(self, text: str) -> str:
        most = self.input.most_tokens * _CHARACTERS_A_TOKEN
        if len(text) <= most:
            return text
        return text[-most:] if self.tokenizer.truncation["direction"] == "left" else text[:most]


def encoders(given: Any, names: Sequence[str], *, has_mask: bool = True) -> tuple[TextEncoder, ...]:
    """The encoder of each of these inputs. given: a tokenizer for all of them, or a mapping with one for each.

    Of several texts the tokens of each are called after it, `title_input_ids`, `title_attention_mask`. UsageProblem for
    a mapping that has others than these names.
    """
    each = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    if {*each} != {*names}:
        raise UsageProblem(
            f"tokenizer has {', '.join(map(str, each)) or 'nothing'}, and the texts are {', '.join(names)}",
            f"give one for each, {', '.join(names)}; or one tokenizer for all",
        )
    several = len(names) > 1
    made = [TextEncoder.of(each[name], name, has_mask=has_mask, before=f"{name}_" * several) for name in names]
    places = {digest: at for at, digest in enumerate(dict.fromkeys(found.input.digest for found in made), start=1)}
    for found in made:
        at = places[found.input.digest]
        found.input = msgspec.structs.replace(found.input, file=TOKENIZER if at == 1 else f"tokenizer-{at}.json")
    return tuple(made)


def inputs_of(folder: Path) -> tuple[TextInput, ...]:
    """The texts of a model's folder. Unavailable without their file, Damaged where it is none."""
    try:
        found = msgspec.json.decode(_content(folder, TEXTS), type=TextInput | tuple[TextInput, ...])
    except msgspec.DecodeError as problem:
        raise Damaged(f"{TEXTS} is of no texts: {problem}", f"take the model's {TEXTS} again") from None
    # A model of one text was once saved without a list.
    return (found,) if isinstance(found, TextInput) else found


def read(folder: Path) -> tuple[TextEncoder, ...]:
    """The encoders of a model's folder, one for each text. See `inputs_of` and `TextEncoder.read`."""
    return tuple(TextEncoder.read(folder, each) for each in inputs_of(folder))


def write(each: Sequence[TextEncoder], folder: Path) -> None:
    """The files of all texts, into a folder that is being made."""
    for encoder in each:
        # Not flushed alone: publishing the model's folder flushes all of it.
        files.write(folder / encoder.input.file, encoder.tokenizer.to_str(pretty=True), flush=False)
    body = msgspec.json.format(msgspec.json.encode([encoder.input for encoder in each]), indent=1).decode()
    files.write(folder / TEXTS, body + "\n", flush=False)


def _content(folder: Path, name: str) -> bytes:
    if not (folder / name).is_file():
        raise Unavailable(f"there is no {name} in {folder}", "take the model's folder again, with all its files")
    return (folder / name).read_bytes()


def as_logged(value: Any) -> Any:
    """A value as the log keeps it: of a long text its beginning, how long it was, and how many words it had."""
    if not isinstance(value, str) or len(value) <= LOGGED_CHARACTERS:
        return value
    return LongText(value[:LOGGED_CHARACTERS], len(value), len(value.split()))


def beginning(value: Any) -> Any:
    """The beginning of a text that `as_logged` shortened, or the value as it is."""
    is_long = isinstance(value, Mapping) and value.keys() == {*LongText.__struct_fields__}
    return f"{value['begins']}…" if is_long else value


def measures(value: Any) -> tuple[float, float, list[str]] | None:
    """A text, or what `as_logged` left of it: its characters, its words, and the different words of its beginning.

    None for what is no text.
    """
    if isinstance(value, str):
        value = {"begins": value[:LOGGED_CHARACTERS], "characters": len(value), "words": len(value.split())}
    if not isinstance(value, Mapping):
        return None
    return float(value["characters"]), float(value["words"]), sorted({*re.findall(r"\w+", value["begins"].lower())})


def _parsed(text: str, file: str = TOKENIZER) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise Missing(
            "texts need the package tokenizers, which is not installed", "pip install 'aiinfra-lab[text]'"
        ) from None
    try:
        return Tokenizer.from_str(text)
    except Exception as problem:  # noqa: BLE001  # the library raises nothing narrower
        raise Damaged(f"{file} is no tokenizer: {str(problem)[:200]}", f"take the model's {file} again") from None


def _padding(tokenizer: Any) -> int:
    known = (tokenizer.token_to_id(token) for token in _PADDING)
    return next((found for found in known if found is not None), 0)
