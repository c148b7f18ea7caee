import re
import xml.etree.ElementTree as ET
from itertools import pairwise

from aiinfra_lab.show import graph, mark_of
from aiinfra_lab.show.graph import Node


def chain(count, **states):
    nodes = [Node(f"s{at}", f"step {at}", "", mark_of(states.get(f"s{at}", "waits"))) for at in range(count)]
    return nodes, [(f"s{at}", f"s{at + 1}") for at in range(count - 1)]


def drawn(nodes, edges):
    """Title → the left upper corner of its box."""
    svg = graph.draw(nodes, edges, alt="a graph").svg
    ET.fromstring(svg)
    boxes = re.findall(r'translate\(([\d.]+) ([\d.]+)\)"(.*?)</g>', svg)
    return {re.findall(r'x="(?:9|25)" y="\d+">([^<]{2,})<', inner)[0]: (float(x), float(y)) for x, y, inner in boxes}


def test_a_node_stands_right_of_all_that_it_came_from():
    nodes = [Node(key, f"is {key}") for key in "dabc"]
    places = drawn(nodes, [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("a", "unknown")])
    assert [name for name, _ in sorted(places.items(), key=lambda item: item[1])] == ["is a", "is b", "is c", "is d"]


def test_boxes_of_a_column_do_not_overlap():
    nodes = [Node(f"n{at}", f"node {at}") for at in range(10)]
    places = drawn(nodes, [(f"n{at}", f"n{5 + to}") for at in range(5) for to in range(5)])
    for x in {x for x, _ in places.values()}:
        column = sorted(y for other, y in places.values() if other == x)
        assert all(lower - upper >= 42 for upper, lower in pairwise(column))


def test_a_state_has_its_glyph_and_a_frame_of_its_own():
    states = ("done", "running", "failed", "skipped", "waits", "cannot tell", "stopped", "drift")
    for state in states:
        svg = graph.draw([Node("a", "a", "", mark_of(state))], [], alt="one").svg
        assert f">{mark_of(state).glyph}</text>" in svg
    frames = [re.search(r"\.\w+ use\{(stroke.*?)\}", graph.draw([Node("a", "a", "", mark_of(s))], [], alt="").svg)[1]
              for s in states[:6]]  # fmt: skip
    assert len(set(frames)) == len(frames)


def test_a_circle_ends_at_the_edge_that_was_given_last():
    places = drawn([Node("a", "is a"), Node("b", "is b")], [("a", "b"), ("b", "a")])
    assert places["is a"][0] < places["is b"][0]


def test_of_a_long_graph_what_failed_is_shown_with_its_neighbours_and_the_rest_is_counted():
    places = drawn(*chain(20, s10="failed"))
    assert {"step 9", "step 10", "step 11"} <= set(places)
    assert f"{20 - (len(places) - 1)} more" in places
    assert len({x for x, _ in places.values()}) <= graph.MOST_COLUMNS


def test_of_a_tall_graph_there_are_five_rows():
    nodes = [Node(f"n{at}", f"node {at}") for at in range(9)]
    places = drawn([Node("end", "the end"), *nodes], [(node.key, "end") for node in nodes])
    assert list(places) == ["the end", "node 0", "node 1", "node 2", "node 3", "5 more"]


def test_what_lies_between_two_shown_nodes_still_parts_them():
    nodes, edges = chain(9, s0="failed", s8="failed")
    places = drawn(nodes, edges)
    assert places["step 0"][0] < places["step 8"][0]


def test_long_names_are_cut_and_text_is_escaped():
    svg = graph.draw([Node("a", "w" * 40, "<b> & more")], [], alt="").svg
    assert "w…" in svg
    assert "&lt;b&gt; &amp; more" in svg


def test_groups_stand_above_their_columns():
    nodes = [Node("a", "flights@1", group="data"), Node("b", "delay@1", group="features")]
    svg = graph.draw(nodes, [("a", "b")], alt="").svg
    assert [*re.findall(r'y="10">(\w+)<', svg)] == ["data", "features"]


def test_thousands_of_nodes_are_one_picture_of_a_few():
    nodes, edges = chain(3000, s1500="running")
    assert len(graph.draw(nodes, edges, alt="").svg) < 5000


def test_a_graph_of_nothing_is_a_picture():
    ET.fromstring(graph.draw([], [], alt="nothing").svg)
