"""From a URI to its record, on a noun of the tests' own with versions, aliases, parts and removals."""

from typing import ClassVar

import pytest

from aiinfra_lab import nouns
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.resolve import exists, resolve, resolve_any
from aiinfra_lab.store import Body, Record, open_store
from aiinfra_lab.uris import Uri


class Book(Body, frozen=True, kw_only=True):
    """An edition of a book."""

    kind: ClassVar[str] = "books"

    burnt_at: float | None = None

    @property
    def removed_on(self) -> float | None:
        return self.burnt_at


class Page(Body, frozen=True, kw_only=True):
    """One page of an edition."""

    kind: ClassVar[str] = "books.pages"


class Shelf(Body, frozen=True, kw_only=True):
    """A shelf has no editions."""

    kind: ClassVar[str] = "shelves"


class Books(nouns.Noun[Book]):
    """The noun `books`."""

    name, kind, part_kind, has_versions = "books", Book, Page, True

    def first(self, name: str) -> str:
        return f"`%books add {name}` buys one"

    def aliased(self, name, alias):
        return Uri("books", name, 1) if alias == "first" else None


class Shelves(nouns.Noun[Shelf]):
    """The noun `shelves`."""

    name, kind = "shelves", Shelf


@pytest.fixture(autouse=True)
def library(workspace, monkeypatch):
    """Two editions of one book, three of another of which the last is gone, a page, and a shelf."""
    known = {"books": Books(), "shelves": Shelves()}
    monkeypatch.setattr(nouns, "TABLE", {**nouns.TABLE, "books": "", "shelves": ""})
    monkeypatch.setattr("aiinfra_lab.uris.TABLE", nouns.TABLE)
    find = nouns.find
    monkeypatch.setattr(nouns, "find", lambda noun: known.get(noun) or find(noun))
    made = [("it@1", Book()), ("it@2", Book()), ("ulysses@1", Book()), ("ulysses@2", Book()), ("it@2#7", Page())]
    made += [("ulysses@3", Book(burnt_at=86_400.0)), ("top", Shelf())]
    for name, body in made:
        open_store().commit([Record.new(name, body)])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("it", "it@2"),
        ("books:it", "it@2"),
        ("it@1", "it@1"),
        ("books:it@first", "it@1"),
        ("ulysses", "ulysses@2"),
        (" it@2 ", "it@2"),
    ],
)
def test_every_way_to_name_a_version(text, name):
    assert resolve(text, Book).name == name


def test_a_part_has_a_kind_of_its_own():
    assert resolve("books:it@2#7", Page).name == "it@2#7"
    assert type(resolve_any("books:it@2#7").body) is Page


def test_what_has_no_versions_is_called_by_its_name():
    assert (resolve("top", Shelf).uri, resolve_any("shelves:top").name) == ("shelves:top", "top")


def test_a_handle_is_taken_for_its_uri():
    class Handle:
        def __str__(self) -> str:
            return "books:it@1"

    assert resolve(Handle(), Book).name == "it@1"


@pytest.mark.parametrize(
    ("text", "kind", "fix"),
    [
        ("it@9", Book, "there are: it@2, it@1"),
        ("ulises", Book, "did you mean ulysses?"),
        ("it@last", Book, "there are: it@2, it@1"),
        ("ulysses@3", Book, "there are: ulysses@2, ulysses@1"),
        ("books:it@2#8", Page, "there are: books:it@2, books:it@1"),
        ("tpo", Shelf, "did you mean top?"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(text, kind, fix):
    with pytest.raises(NotFound) as problem:
        resolve(text, kind)
    assert problem.value.fix == fix


def test_the_first_of_a_noun_is_made_with_a_command():
    for record in open_store().list(Book):
        open_store().commit([record.with_(burnt_at=1.0)])
    with pytest.raises(NotFound) as problem:
        resolve("it", Book)
    assert problem.value.fix == "there is none yet: `%books add it` buys one"


def test_a_removed_version_keeps_its_record_for_whoever_asks():
    with pytest.raises(NotFound, match="was removed on 1970-01-02"):
        resolve("ulysses@3", Book)
    assert resolve("ulysses@3", Book, removed=True).name == "ulysses@3"
    assert resolve("ulysses", Book, removed=True).name == "ulysses@2"


def test_the_newest_is_found_behind_many_that_were_removed():
    for number in range(4, 40):
        open_store().commit([Record.new(f"ulysses@{number}", Book(burnt_at=1.0))])
    assert resolve("ulysses", Book).name == "ulysses@2"


@pytest.mark.parametrize(
    ("text", "kind", "fix"),
    [
        ("shelves:top@1", Shelf, "write shelves:top"),
        ("books:it@2#7", Book, "write books:NAME@N"),
        ("it", Page, "write books:NAME@N#part"),
        ("shelves:top", Book, "there are: books:ulysses, books:ulysses@2"),
        ("shelves:ulysses", Book, "did you mean books:ulysses?"),
        ("It", Book, "did you mean it?"),
    ],
)
def test_words_that_cannot_mean_it_are_refused(text, kind, fix):
    with pytest.raises(UsageProblem) as problem:
        resolve(text, kind)
    assert problem.value.fix.startswith(fix)


@pytest.mark.parametrize(("text", "there"), [("books:it", True), ("books:it@3", False), ("books:ulysses@3", False)])
def test_whether_something_is_there(text, there):
    assert exists(text) is there


def test_a_noun_that_keeps_nothing_has_nothing_to_resolve():
    with pytest.raises(UsageProblem, match="names nothing that cost keeps"):
        resolve_any("cost:all")
