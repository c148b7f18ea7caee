"""What differs at each execution counts as nothing, and everything else as something."""

from base64 import b64encode
from io import BytesIO

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from aiinfra_lab.recipe.diff.normal import normal_outputs, normal_text
from aiinfra_lab.recipe.diff.times import ExecutionTimes

SAME = [
    ("\r 10%|█         | 1/10 [00:01<00:09,  1.00it/s]\r100%|██████████| 10/10 [00:10<00:00,  1.01it/s]",
     "\r 50%|█████     | 5/10 [00:02<00:02,  2.00it/s]\r100%|██████████| 10/10 [00:03<00:00,  3.20it/s]"),
    ("<a.B object at 0x7f1e09509040>", "<a.B object at 0x7f3dd6822440>"),
    ("/tmp/ipykernel_123/456.py:1: UserWarning: x", "/tmp/ipykernel_99/77.py:1: UserWarning: x"),
    ("at 2026-11-28T13:20:16.123+00:00", "at 2025-01-02 03:04:05Z"),
    ("took 12.3 ms", "took 5 s"),
    ("took 3 min", "took 2 h"),
    ("took 1 h 5 min, 7 rows", "took 2 h 1 min, 7 rows"),
    ("0 days 00:00:03.123456", "1 days 01:00:04.5"),
    ("took 0:00:03.123456", "took 0:01:03.5"),
    ("1 min 3 s of 2h", "59 s of 3h"),
    ("CPU times: user 3.1 ms, sys: 0 ns, total: 3.1 ms", "CPU times: user 20.4 ms, sys: 1.1 ms, total: 21.5 ms"),
    ("PID: 4242", "PID: 7"),
    ("process #12 began", "process #99 began"),
    ("process[12]: x", "process[99]: x"),
    ("12 INFO (Process 12) began", "12 INFO (Process 99) began"),
    ("in /tmp/tmpab12cd34/x.csv", "in /tmp/tmpzz99xx88/x.csv"),
    ("id 6fa459ea-ee8a-3ca4-894e-db77e160355e", "id 16fd2706-8baf-433b-82eb-8c7fada847da"),
    ('<style>#T_a1b2c_row0 {}</style><table id="T_a1b2c">', '<style>#T_9f8e7_row0 {}</style><table id="T_9f8e7">'),
    ("\x1b[31mred\x1b[0m", "red"),
    ("text  \n", "text"),
    ("read (120 MB/s)", "read (3.4 MB/s)"),
]  # fmt: skip
OTHER = [
    ("auc 0.81", "auc 0.82"),
    ("10 rows", "11 rows"),
    ("process 12 rows", "process 99 rows"),
    ("Process: 12", "Process: 99"),
    ("to process (12 rows)", "to process (99 rows)"),
    ("(process 12 rows)", "(process 99 rows)"),
    ("rows 100 min 5 max 9", "rows 7 min 5 max 9"),
    ("n=100 min=5", "n=7 min=5"),
    ("0 days 02:00:00", "0 days 03:00:00"),
    ("2013-07-01", "2013-07-02"),
    ("100%|██████████| 10/10 [00:10<00:00,  1.01it/s]", "100%|██████████| 11/11 [00:10<00:00,  1.01it/s]"),
    ("v1.5s", "v1.6s"),
    ("x5 ms", "x6 ms"),
    ("colour 0xff", "colour 0xfe"),
    ("/data/a.csv", "/data/b.csv"),
    ("a\nb", "b\na"),
    ("", "x"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_what_differs_each_time_counts_as_nothing(one, two):
    assert normal_text(one) == normal_text(two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_everything_else_counts(one, two):
    assert normal_text(one) != normal_text(two)


RAN = ExecutionTimes.of({"metadata": {"papermill": {
    "start_time": "2026-11-28T13:20:00+00:00", "end_time": "2026-11-28T13:30:00+00:00"}}})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("at 2026-11-28 13:25:01.5", "at (time)"),
        ("at 2026-11-29T02:25+13:00", "at (time)"),
        ("2013-07-01 05:00", "2013-07-01 05:00"),
        ("newest flight 2013-07-01 00:00:00", "newest flight 2013-07-01 00:00:00"),
        ("13:25:01 INFO", "(time) INFO"),
        ("leaves at 05:00:00", "leaves at 05:00:00"),
        ("99:99:99 and 2026-13-01 10:00", "99:99:99 and 2026-13-01 10:00"),
    ],
)
def test_only_times_of_the_execution_are_those_that_differ_each_time(text, normal):
    assert normal_text(text, times=RAN) == normal


def test_times_of_an_execution_that_does_not_tell_when_it_was_are_all_its_own():
    assert ExecutionTimes.of({"metadata": {"papermill": {"start_time": "2026-11-28T13:20:00"}}}) == ExecutionTimes()
    assert ExecutionTimes.of({"metadata": {}}).without("2013-07-01 05:00, 05:00:00") == "(time), (time)"


def test_a_stream_is_one_text_whatever_pieces_it_came_in():
    pieces = [{"output_type": "stream", "name": "stdout", "text": each} for each in ("a", "b\n", ["c", "d"])]
    aside = {"output_type": "stream", "name": "stderr", "text": "e"}
    assert normal_outputs([*pieces[:1], aside, *pieces[1:]]) == [("stdout", "ab\ncd"), ("stderr", "e")]


def test_of_an_error_its_lines_do_not_count():
    one, two = ({"output_type": "error", "ename": "E", "evalue": "x", "traceback": [at]} for at in ("l. 1", "l. 2"))
    assert normal_outputs([one]) == normal_outputs([two]) == [("error", "E: x")]


def picture(value: float, software: str) -> dict:
    figure = Figure((1, 1))
    figure.subplots().plot([0, value])
    kept = BytesIO()
    figure.savefig(kept, format="png", metadata={"Software": software})
    data = {"image/png": b64encode(kept.getvalue()).decode(), "text/plain": f"<Figure at 0x{id(figure):x}>"}
    return {"output_type": "display_data", "data": data}


def test_of_a_picture_its_points_count_and_not_who_drew_it():
    assert mpl.__version__
    one, two, other = (normal_outputs([picture(*each)]) for each in ((1, "a"), (1, "b"), (2, "a")))
    assert one == two
    assert one != other


def test_a_display_is_compared_by_its_richest_form():
    html = {"output_type": "execute_result", "data": {"text/plain": "x 1", "text/html": "<b>x</b>"}}
    assert normal_outputs([html]) == [("text/html", "<b>x</b>")]


def display(**data: object) -> list:
    return normal_outputs([{"output_type": "display_data", "data": data}])


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("application/vnd.vegalite.v5+json", {"values": [1, 2]}, {"values": [1, 3]}),
        ("application/vnd.plotly.v1+json", {"data": [{"y": [1]}]}, {"data": [{"y": [2]}]}),
        ("application/json", ["a", "b"], ["ab"]),
        ("application/javascript", "alert(1)", "alert(2)"),
        ("image/gif", b64encode(b"GIF1").decode(), b64encode(b"GIF2").decode()),
    ],
)
def test_what_only_some_front_ends_can_show_counts(kind, one, two):
    shown = {"text/plain": "<Chart>"}
    assert display(**{kind: one}, **shown) == display(**shown, **{kind: one}) != display(**{kind: two}, **shown)


def test_the_order_of_a_table_and_the_model_of_a_widget_do_not_count():
    kind = "application/vnd.vegalite.v5+json"
    assert display(**{kind: {"a": 1, "b": 2}}) == display(**{kind: {"b": 2, "a": 1}})
    views = [{"application/vnd.jupyter.widget-view+json": {"model_id": each}, "text/plain": "x"} for each in "ab"]
    assert display(**views[0]) == display(**views[1]) == [("text/plain", "x")]


def drawn(value: float) -> list:
    figure, kept = Figure((1, 1)), BytesIO()
    figure.subplots().scatter([0, value], [0, 1])
    figure.savefig(kept, format="svg")
    return display(**{"image/svg+xml": kept.getvalue().decode()})


def test_of_a_drawing_as_svg_its_points_count_and_not_its_ids():
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_what_a_run_calls_itself_is_no_difference():
    assert (
        normal_text("recipe:a@41 made data:x@7", {"recipe:a@41": "recipe:a@(this)"}) == "recipe:a@(this) made data:x@7"
    )


def test_a_picture_that_is_none_is_taken_as_it_is():
    broken = {"output_type": "display_data", "data": {"image/png": "no base64!"}}
    assert normal_outputs([broken])[0][0] == "image/png"
