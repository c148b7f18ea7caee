"""What fronts count beside their versions: each in a table of its own, which all others read."""

from aiinfra_lab.deploy.server.tallies import SIZE, Tallies, least, summed, total


def test_a_tally_has_what_was_counted_and_nothing_else():
    tallies = Tallies()
    assert (dict(tallies.answers), tallies.answers[200]) == ({}, 0)
    tallies.answers.add(200), tallies.answers.add(200), tallies.faults.add("syntax")
    tallies.refused[422] += 1
    tallies.refused[422] -= 1
    assert (tallies.answers, tallies.faults, tallies.refused) == ({200: 2}, {"syntax": 1}, {})


def test_fronts_are_read_together_and_one_that_is_started_again_goes_on():
    memory = [memoryview(bytearray(SIZE)) for _ in range(2)]
    one, another = map(Tallies, memory)
    one.answers.add(200), one.answers.add(503), another.answers.add(200), another.dropped.add("left")
    Tallies(memory[1]).answers.add(200)
    one.set("waiting", 3), another.set("waiting", 4), another.set("generation", 7)
    tables = [*map(Tallies, memory)]
    assert (total(tables, "answers"), total(tables, "dropped")) == ({"200": 3, "503": 1}, {"left": 1})
    assert (summed(tables, "waiting"), least(tables, "generation"), least(tables, "nothing")) == (7, 7, 0)
