"""Jupyter's protocol through a session: what notebooks, consoles, widgets and debuggers ask of a kernel."""

import queue

import pytest

from tests.conftest import PATIENCE_S

from .conftest import is_idle, prints

BUSY = "import time\nprint('busy', flush=True)\nwhile True: time.sleep(0.05)"
WIDGET = """
import ipywidgets
slider = ipywidgets.IntSlider(3)
slider.observe(lambda change: print('moved to', change['new']), 'value')
display(slider)
"""
ECHO = """
def opened(comm, message):
    def answer(message):
        comm.send({'back': message['content']['data']}, buffers=[bytes(each)[::-1] for each in message['buffers']])
    comm.on_msg(answer)
    comm.send({'hello': message['content']['data']})
get_ipython().kernel.comm_manager.register_target('echo', opened)
"""


@pytest.fixture
def client(attach):
    return attach()


@pytest.fixture
def other(attach):
    return attach()


def test_each_client_is_asked_for_what_its_own_code_reads(client, other):
    for each, name in ((client, "Ada"), (other, "Grace")):
        asked = each.jupyter.execute("print('hello', input('name? '))", allow_stdin=True)
        prompt = each.jupyter.get_stdin_msg(timeout=PATIENCE_S)
        assert (prompt["content"]["prompt"], prompt["parent_header"]["msg_id"]) == ("name? ", asked)
        each.jupyter.input(name)
        each.until(prints(f"hello {name}"))


def test_a_password_that_is_asked_for_is_known_as_one(client):
    client.jupyter.execute("import getpass; print(len(getpass.getpass('secret: ')))", allow_stdin=True)
    assert client.jupyter.get_stdin_msg(timeout=PATIENCE_S)["content"] == {"prompt": "secret: ", "password": True}
    client.jupyter.input("12345")
    client.until(prints("5"))


def test_code_that_may_not_ask_is_told_so(client):
    assert client.run("input()", allow_stdin=False) == "StdinNotImplementedError"


def test_an_interrupt_ends_the_cell_that_runs(client):
    asked = client.jupyter.execute(BUSY)
    client.until(prints("busy"))
    assert client.answer("interrupt_request", "control")["status"] == "ok"
    assert client.reply(asked)["ename"] == "KeyboardInterrupt"


def test_history_is_that_of_all_who_work_in_it(client, other):
    client.run("first = 1")
    other.run("second = 2")
    wanted = {"output": False, "raw": True, "hist_access_type": "tail", "n": 2}
    assert [line for _, _, line in client.answer("history_request", **wanted)["history"]] == ["first = 1", "second = 2"]
    wanted = {"output": False, "raw": True, "hist_access_type": "search", "pattern": "sec*", "n": 1, "unique": True}
    assert [line for _, _, line in other.answer("history_request", **wanted)["history"]] == ["second = 2"]


def test_completion_and_inspection_know_the_namespace(client, other):
    client.run("temperature = 4")
    found = other.answer("complete_request", code="tempera", cursor_pos=7)
    assert "temperature" in found["matches"]
    shown = other.answer("inspect_request", code="temperature", cursor_pos=4, detail_level=0)
    assert "int" in shown["data"]["text/plain"]
    assert other.answer("is_complete_request", code="for x in y:")["status"] == "incomplete"


def test_a_subshell_answers_while_a_cell_runs(client, other):
    assert "kernel subshells" in other.answer("kernel_info_request")["supported_features"]
    subshell = other.answer("create_subshell_request", "control")["subshell_id"]
    running = client.jupyter.execute(BUSY)
    client.until(prints("busy"))
    found = other.answer("complete_request", subshell=subshell, code="time.slee", cursor_pos=9)
    assert "sleep" in str(found["matches"])
    assert other.answer("list_subshell_request", "control")["subshell_id"] == [subshell]
    client.answer("interrupt_request", "control")
    assert client.reply(running)["status"] == "error"
    assert other.answer("delete_subshell_request", "control", subshell_id=subshell)["status"] == "ok"


def test_silent_code_is_neither_counted_nor_shown_to_others(client, other):
    before = client.answer("execute_request", **execution("1"))["execution_count"]
    other.silence()
    client.jupyter.execute("quiet = 1", silent=True)
    client.run("print('loud')")
    other.until(prints("loud"))
    codes = [each["content"]["code"] for each in other.outputs if each["msg_type"] == "execute_input"]
    assert codes == ["print('loud')"]
    assert client.answer("execute_request", **execution("1"))["execution_count"] == before + 2


def execution(code: str, **flags) -> dict:
    plain = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return {"code": code, **plain, **flags}


@pytest.mark.parametrize("stops", [True, False], ids=["stops", "goes-on"])
def test_code_behind_an_error_waits_for_nothing(client, stops):
    failing = execution("import time; time.sleep(0.3); 1 / 0", stop_on_error=stops)
    first, second = client.ask("execute_request", **failing), client.ask("execute_request", **execution("2"))
    assert client.reply(first)["ename"] == "ZeroDivisionError"
    assert client.reply(second)["status"] == ("aborted" if stops else "ok")


def test_user_expressions_are_answered(client):
    found = client.answer("execute_request", **execution("x = 20", user_expressions={"y": "x + 1", "z": "nothing"}))
    assert found["user_expressions"]["y"]["data"]["text/plain"] == "21"
    assert found["user_expressions"]["z"]["ename"] == "NameError"


def test_a_comm_that_a_page_opens_is_its_own_and_carries_bytes(client, other):
    client.run(ECHO)
    for each, name in ((client, "one"), (other, "two")):
        each.ask("comm_open", comm_id=name, target_name="echo", data=name)
        assert each.until(in_comm(name))["content"]["data"] == {"hello": name}
        message = each.jupyter.session.msg("comm_msg", {"comm_id": name, "data": name})
        each.jupyter.session.send(each.jupyter.shell_channel.socket, message, buffers=[b"abc", b"\x00\xff"])
        found = each.until(in_comm(name))
        assert found["content"]["data"] == {"back": name}
        assert [bytes(part) for part in found["buffers"]] == [b"cba", b"\xff\x00"]
    listed = other.answer("comm_info_request", target_name="echo")["comms"]
    assert set(listed) == {"one", "two"}


def in_comm(name: str):
    return lambda found: found["msg_type"] == "comm_msg" and found["content"]["comm_id"] == name


def test_a_widget_is_shown_and_moved_by_every_page(client, other):
    asked = client.jupyter.execute(WIDGET)
    is_slider = lambda found: found["content"].get("data", {}).get("state", {}).get("_model_name") == "IntSliderModel"  # noqa: E731
    name = client.until(is_slider)["content"]["comm_id"]
    assert other.until(is_slider)["content"]["comm_id"] == name
    client.until(lambda found: is_idle(found) and found["parent_header"]["msg_id"] == asked)
    for each, value in ((client, 5), (other, 8)):
        data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        each.ask("comm_msg", comm_id=name, data=data)
        each.until(prints(f"moved to {value}"))
        assert each.run("print(slider.value)") == f"{value}\n"
    # A page that is opened later asks for all widgets there are.
    opening = other.jupyter.session.msg(
        "comm_open", {"comm_id": "control", "target_name": "jupyter.widget.control", "data": {}}
    )
    opening["metadata"]["version"] = "1.0.0"
    other.jupyter.shell_channel.send(opening)
    other.ask("comm_msg", comm_id="control", data={"method": "request_states"})
    states = other.until(in_comm("control"))["content"]["data"]["states"]
    assert states[name]["state"]["value"] == 8


def test_what_is_unknown_or_forged_is_answered_by_nobody_and_harms_nothing(client):
    client.ask("no_such_request")
    message = client.jupyter.session.msg("execute_request", execution("forged = 1"))
    parts = client.jupyter.session.serialize(message)
    parts[parts.index(b"<IDS|MSG>") + 1] = b"0" * 64
    client.jupyter.shell_channel.socket.send_multipart(parts)
    with pytest.raises(queue.Empty):
        client.reply(message["header"]["msg_id"], within_s=1)
    assert client.run("forged") == "NameError"
