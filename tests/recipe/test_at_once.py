"""What is the same for all steps that are looked at in one moment is looked for once."""

from aiinfra_lab.recipe.at_once import at_once, once

seen: list[object] = []


@once
def look(what: object, *, more: int = 0) -> int:
    seen.append(what)
    return len(seen)


def test_within_a_block_each_is_looked_for_once_and_behind_it_anew() -> None:
    seen.clear()
    with at_once():
        assert [look("a"), look("a"), look("b"), look("a", more=1)] == [1, 1, 2, 3]
        with at_once():
            assert look("a") == 1
        assert look("b") == 2
    with at_once():
        with at_once():
            assert look("a") == 4
        assert look("a") == 4
    assert (look("a"), look("a")) == (5, 6)
