"""A project that `deploy export --to fastapi` wrote: its own tests pass, and it answers what our endpoint does."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from aiinfra_lab.deploy import client
from aiinfra_lab.deploy.fastapi import project
from aiinfra_lab.errors import Unavailable
from tests.conftest import until
from tests.deploy import exported, serving
from tests.deploy.conftest import artifact

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment with what the project asks for; skips where that cannot be had."""
    place = ROOT / ".venvs" / "fastapi"
    for command in (
        [UV, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)],
        [UV, "pip", "install", "--quiet", "--python", str(place), "-r", str(ROOT / "constraints" / "fastapi.txt")],
    ):
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"FastAPI cannot be installed here: {done.stderr.strip()[-300:]}")
    return str(place / "bin" / "python")


DICE = np.random.default_rng(7)


def table_rows(names=("carrier", "temp", "distance")):
    return [
        dict(zip(names, (text(["AA", "UA", "9E", "new"]), number(), int(DICE.integers(5000))), strict=True))
        for _ in range(1000)
    ]


def text(choices):
    return str(DICE.choice(choices))


def number():
    return None if DICE.random() < 0.2 else float(DICE.normal(3, 9))


def array_rows():
    return [{"image": DICE.normal(size=(2, 2)).tolist(), "weight": [int(DICE.integers(9))]} for _ in range(1000)]


def text_rows(*names):
    words = [*" ".join(exported.WORDS).split(), "unknown"]
    return [
        {name: " ".join(DICE.choice(words, DICE.integers(0, 12))) for name in names or ["text"]} for _ in range(1000)
    ]


CASES = {
    "table": (artifact, table_rows),
    "odd": (exported.odd_table, lambda: table_rows(exported.NAMES.values())),
    "arrays": (serving.pictures, array_rows),
    "labels": (exported.of_labels, lambda: [{"sizes": DICE.normal(size=4).tolist()} for _ in range(1000)]),
    "texts": (exported.of_texts, text_rows),
    "two texts": (lambda folder: exported.of_texts(folder, ["body", "title"]), lambda: text_rows("body", "title")),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """The folder of a model, rows for it, and the project that was written for it."""
    make, rows = CASES[request.param]
    folder = make(tmp_path / "model")
    project.write("delay", "models:delay@1", folder, tmp_path / "out")
    return folder, rows(), tmp_path / "out"


def apart():
    """The environment without our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture
def service(case, python):
    """Where the project answers, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "uvicorn", "app.main:app", "--port", str(port), "--no-access-log"]
    running = subprocess.Popen(command, cwd=case[2], env=apart(), stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    until(lambda: is_ready(url))
    yield url, running
    running.kill()
    running.communicate()


def is_ready(url):
    try:
        return client.ask(url, "/readyz")[0] == 200
    except Unavailable:
        return False


def test_its_own_tests_pass(case, python):
    command = [python, "-m", "pytest", "-q"]
    done = subprocess.run(command, cwd=case[2], env=apart(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "11 passed" in done.stdout


def test_it_answers_what_our_endpoint_does(case, service, tmp_path):
    folder, rows, _ = case
    with serving.endpoint(tmp_path / "log", folder) as ours:
        expected = [row for at in (0, 500) for row in predictions(ours.ask("/predict", {"rows": rows[at : at + 500]}))]
    found = [row for at in (0, 500) for row in predictions(asked(service[0], rows[at : at + 500]))]
    assert len(found) == 1000
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    difference = [abs(one - other) for one, other in zip(numbers(found), numbers(expected), strict=True)]
    assert max(difference) <= 1e-6
    assert len({*numbers(found)}) > 20  # no constant would do


def asked(url, rows):
    """Status and JSON: as any client asks that says what it sends."""
    body = json.dumps({"rows": rows}).encode()
    question = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as problem:
        return problem.code, json.load(problem)


def predictions(answer):
    status, body = answer
    assert status == 200, body
    return [{name: value for name, value in row.items() if name != "row_id"} for row in body["predictions"]]


def numbers(value):
    if isinstance(value, dict):
        return [one for item in value.values() for one in numbers(item)]
    if isinstance(value, list):
        return [one for item in value for one in numbers(item)]
    return [sum(value.encode()) if isinstance(value, str) else value]


def test_it_refuses_what_our_endpoint_does_with_the_same_row_and_name(case, service, tmp_path):
    folder, rows, _ = case
    name = [*rows[0]][-1]
    for wrong in ({**rows[1], name: {}}, {**rows[1], "nothing such": 1}, {}):
        with serving.endpoint(tmp_path / "log", folder) as ours:
            status, expected = ours.ask("/predict", {"rows": [rows[0], wrong]})
        found = asked(service[0], [rows[0], wrong])
        assert (found[0], found[1]["error"]["row"]) == (status, 1)
        assert found[1]["error"]["column"] == expected["error"]["column"]


def test_it_ends_when_it_is_told_to_having_logged_lines_of_json(service):
    _, running = service
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=20)
    assert running.returncode in (0, -signal.SIGTERM)
    assert '"path": "/readyz", "status": 200' in output
