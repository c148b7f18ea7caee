"""JupyterLab's debugger in a session: the Debug Adapter Protocol over the control channel."""

from .conftest import is_idle

CODE = "def twice(x):\n    y = 2 * x\n    return y\nprint('twice', twice(21))"


def debug(client, command: str, **arguments):
    """The body of the debugger's answer."""
    debug.seq += 1
    content = {"type": "request", "seq": debug.seq, "command": command, "arguments": arguments}
    found = client.answer("debug_request", "control", **content)
    assert found["success"], found
    return found.get("body", {})


debug.seq = 0


def test_a_cell_stops_at_a_breakpoint_shows_its_variables_and_goes_on(attach):
    client, watcher = attach(), attach()
    debug(
        client, "initialize", clientID="test", adapterID="", linesStartAt1=True, columnsStartAt1=True, pathFormat="path"
    )
    debug(client, "attach")
    path = debug(client, "dumpCell", code=CODE)["sourcePath"]
    placed = debug(client, "setBreakpoints", source={"path": path}, breakpoints=[{"line": 3}], sourceModified=False)
    assert [each["verified"] for each in placed["breakpoints"]] == [True]
    debug(client, "configurationDone")
    asked = client.jupyter.execute(CODE)
    stopped = client.until(lambda found: is_event(found, "stopped"))["content"]["body"]
    assert stopped["reason"] == "breakpoint"
    frame = debug(client, "stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
    assert (frame["name"], frame["line"], frame["source"]["path"]) == ("twice", 3, path)
    scope = debug(client, "scopes", frameId=frame["id"])["scopes"][0]
    variables = debug(client, "variables", variablesReference=scope["variablesReference"])["variables"]
    assert {each["name"]: each["value"] for each in variables if each["name"] in "xy"} == {"x": "21", "y": "42"}
    state = debug(watcher, "debugInfo")
    assert state["isStarted"]
    assert stopped["threadId"] in state["stoppedThreads"]
    debug(client, "continue", threadId=stopped["threadId"])
    client.until(lambda found: is_idle(found) and found["parent_header"]["msg_id"] == asked)
    if not any(map(shows_the_end, client.outputs)):  # what it prints may come behind its status
        client.until(shows_the_end)
    debug(client, "disconnect", restart=False, terminateDebuggee=True)
    assert client.run("print('on')") == "on\n"


def shows_the_end(found) -> bool:
    return "twice 42" in str(found["content"].get("text"))


def is_event(found, name: str) -> bool:
    return found["msg_type"] == "debug_event" and found["content"]["event"] == name
