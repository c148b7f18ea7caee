import os
import signal
import sys
import threading

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.errors import Failed, Unavailable
from tests.conftest import PATIENCE_S


def outputs_of(code: str, **options) -> tuple[dict, list[kernels.Output]]:
    outputs: list[kernels.Output] = []
    return kernels.execute("gpu:trainer", code, outputs.append, **options), outputs


LONG = "import time\nslept = False\nprint('now')\ntime.sleep({})\nslept = True"


def in_the_middle(action, *arguments, seconds: float = 60, **options) -> None:
    """Run long code, and do something to it once it runs."""
    kernels.execute("gpu:trainer", LONG.format(seconds), lambda output: action(*arguments), **options)


def busy(code: str) -> threading.Thread:
    """A thread that runs the code, which has begun."""
    begun = threading.Event()
    run = threading.Thread(
        target=kernels.execute, args=("gpu:trainer", f"print('now')\n{code}", lambda output: begun.set())
    )
    run.start()
    assert begun.wait(PATIENCE_S)
    return run


def test_outputs_come_in_order_and_whole(kept):
    reply, outputs = outputs_of("for n in range(2000): print(n)")
    text = "".join(output["content"]["text"] for output in outputs)
    assert reply["status"] == "ok"
    assert text == "".join(f"{n}\n" for n in range(2000))


def test_the_kind_of_an_output_is_kept(kept):
    _, outputs = outputs_of("import sys\nprint('a', file=sys.stderr)\ndisplay({'b': 1})\n40 + 2")
    kinds = dict.fromkeys(output["msg_type"] for output in outputs)
    assert list(kinds) == ["stream", "display_data", "execute_result"]
    assert outputs[-1]["content"]["data"]["text/plain"] == "42"


def test_an_error_of_the_code_is_in_the_reply_and_among_the_outputs(kept):
    reply, outputs = outputs_of("1 / 0")
    assert (reply["status"], reply["ename"]) == ("error", "ZeroDivisionError")
    assert outputs[-1]["msg_type"] == "error"


def test_the_state_stays_between_two_calls(kept):
    outputs_of("x = 41")
    assert outputs_of("x + 1")[1][0]["content"]["data"]["text/plain"] == "42"


def test_code_waits_for_the_code_before_it(kept):
    thread = busy("import time\ntime.sleep(1)\ny = 1")
    assert printed("print(y)") == "1\n"
    thread.join()


def test_code_is_not_dropped_when_the_code_before_it_fails(kept):
    thread = busy("import time\ntime.sleep(1)\n1 / 0")
    assert printed("print('still here')") == "still here\n"
    thread.join()


def test_without_a_session_it_says_how_to_start_one(workspace):
    with pytest.raises(Unavailable, match="no live kernel of gpu:trainer") as problem:
        kernels.execute("gpu:trainer", "1")
    assert problem.value.fix == "start it: `%gpu start trainer`"


def test_a_session_that_has_ended_says_why(kept):
    gpu.stop("trainer")
    with pytest.raises(Unavailable, match="ended \\(stopped\\)"):
        kernels.execute("gpu:trainer", "1")


def test_a_kernel_that_dies_in_the_middle_is_an_error(kept):
    with pytest.raises(
        Failed, match="its kernel ended by SIGKILL in the middle of the code; gpu:trainer goes on with a new one"
    ):
        in_the_middle(os.kill, kept.state().kernel_pid, signal.SIGKILL)


def test_a_restart_in_the_middle_is_an_error(kept):
    with pytest.raises(Failed, match="restarted in the middle"):
        in_the_middle(lambda: kernels.send_control(kept, "shutdown_request", restart=True))


def test_waiting_ends_after_the_time_that_was_given_and_the_code_goes_on(kept):
    with pytest.raises(Unavailable, match="still runs in gpu:trainer"):
        outputs_of("import time\ntime.sleep(2)\nz = 1", timeout_s=0.5)
    assert printed("print(z)") == "1\n"


@pytest.mark.parametrize(("interrupt", "sleeps_s", "slept"), [(False, 2, "True"), (True, 2 * PATIENCE_S, "False")])
def test_ctrl_c_ends_the_waiting_and_only_when_asked_the_code(kept, interrupt, sleeps_s, slept):
    with pytest.raises(KeyboardInterrupt):
        in_the_middle(os.kill, os.getpid(), signal.SIGINT, seconds=sleeps_s, interrupt=interrupt)
    assert printed("print(slept)") == f"{slept}\n"


def test_outside_a_notebook_outputs_go_to_the_streams_of_the_same_name(kept, capsys):
    kernels.execute("gpu:trainer", "import sys\nprint('hello')\nprint('no', file=sys.stderr)\n6 * 7")
    printed = capsys.readouterr()
    assert printed.out == "hello\n42\n"
    assert printed.err == "no\n"


SHOW = """
from IPython.display import update_display
display({'text/plain': 'old'}, raw=True, display_id='it')
update_display({'text/plain': 'new'}, raw=True, display_id='it')
print('hi')
"""


def test_outputs_are_shown_in_the_notebook_that_asked(kept):
    gpu.start("other")
    outputs: list[kernels.Output] = []
    asking = f"from aiinfra_lab import kernels\n_ = kernels.execute('gpu:trainer', {SHOW!r})"
    kernels.execute("gpu:other", asking, outputs.append)
    kinds = [(item["msg_type"], item["content"].get("transient", {}).get("display_id")) for item in outputs]
    assert kinds == [("display_data", "it"), ("update_display_data", "it"), ("stream", None)]


def printed(code: str) -> str:
    """What the code printed; the kernel may send it in pieces."""
    return "".join(output["content"]["text"] for output in outputs_of(code)[1])


@pytest.mark.parametrize(
    ("kind", "content", "out", "err"),
    [
        ("stream", {"name": "stdout", "text": "\x1b[31mred\x1b[0m 1\n"}, "red 1\n", ""),
        ("stream", {"name": "stderr", "text": "warned\n"}, "", "warned\n"),
        ("execute_result", {"data": {"text/plain": "\x1b[1;32m42\x1b[39m"}}, "42\n", ""),
        ("error", {"traceback": ["\x1b[0;31mValueError\x1b[0m: no"]}, "", "ValueError: no\n"),
    ],
)
def test_a_shell_has_what_is_printed_there_where_it_was_printed_and_without_colours(capsys, kind, content, out, err):
    kernels.republish({"msg_type": kind, "content": content, "metadata": {}})
    assert capsys.readouterr() == (out, err)


def test_a_terminal_has_the_colours(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    kernels.republish({"msg_type": "stream", "content": {"name": "stdout", "text": "\x1b[31mred"}, "metadata": {}})
    assert capsys.readouterr().out == "\x1b[31mred"
