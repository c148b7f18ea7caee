"""LAB201 to LAB204: secrets, large outputs and endless loops."""

import pytest

from .conftest import code_cell

# Put together here, so that no scanner takes this file for one that holds a secret.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
OPENAI = "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0"
SLACK = "xoxb-" + "123456789012-abcdef"
HUGGING_FACE = "hf_" + "aBcD" * 9
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N"])
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        (f"x = 1\nkey = '{AWS}'", 2),
        (f"# {GITHUB}", 1),
        (f"client(f'{OPENAI}')", 1),
        (f"!curl -H 'Authorization: {SLACK}' host", 1),
        (f"x = '''\n{KEY}\nabc'''", 2),
        (f"%%bash\nexport A={HUGGING_FACE}", 2),
        ("%env API_KEY=a1b2c3d4", 1),
        ("password = 'hunter2'", 1),
        ("db_password: str = 'hunter2'", 1),
        ("config = {'api_key': 'abc123def'}", 1),
        ("login(user='ann',\n      password='hunter2')", 2),
        ("os.environ['AWS_SECRET_ACCESS_KEY'] = 'wJalrXUtnFEMIK7MDENG'", 1),
        ("self.token = 'a1b2c3d4e5'", 1),
        ("engine = create('postgresql://ann:hunter2@db/flights')", 1),
        ("secret_key = b'abcd1234efgh5678'", 1),
        ("%%bash\nset -e\nexport API_KEY=abcd1234efgh5678ijkl", 3),
        ("!export API_KEY=abcd1234efgh5678ijkl; run", 1),
        ("x = 1\n!DB_PASSWORD='hunter2' psql", 2),
        ('!docker run -e "DB_PASSWORD=hunter2" db', 1),
        ("!mysql --password=hunter2 flights", 1),
        ("out = !run --api-key=abcd1234", 1),
        ("!curl -H 'Authorization: Bearer abcdef1234567890abcdef' http://host", 1),
        ("headers = {'Authorization': 'Bearer abcdef1234567890abcdef'}", 1),
        ("!curl -H 'authorization: Basic dXNlcjpodW50ZXIyeA==' host", 1),
        (f"jwt = '{JWT}'", 1),
    ],
)
def test_a_literal_secret_is_found(places, cell, line):
    assert places("LAB201", cell) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        "password = ''",
        "password = None",
        "password = os.environ['PASSWORD']",
        "api_key = 'YOUR_API_KEY'",
        "api_key = 'your-key-here'",
        "api_key = '<key>'",
        "api_key = '${API_KEY}'",
        "api_key = 'xxxxxxxx'",
        "password = 'changeme'",
        "secret = '...'",
        "token = 'HF_TOKEN'",
        "token: Secret = Secret('HF_TOKEN')",
        "token = 'hello'",
        "pad_token = '[PAD]'",
        "eos_token = '</s>'",
        "Tokenizer(unk_token='[UNK]')",
        "token_count = 'a1b2c3d4e5'",
        "passwords = ['a']",
        "keys = {'public_key': 'a1b2c3d4'}",
        "text = 'sk-learn-is-a-fine-library-to-use'",
        "'hf_hub'",
        "create('postgresql://ann:{password}@db/flights')",
        "create('postgresql://ann@db:5432/flights')",
        "'http://host:8080/a@b'",
        "sort_key = 'name1234'",
        "password_file = '/run/x1'",
        "prompt = {'password': 'Password'}",
        "password = b''",
        "token = b'hello'",
        "secret = b'\\x00'",
        "!export API_KEY=$KEY",
        "!export API_KEY=",
        "!export API_KEY={key}",
        '!export API_KEY="$(cat key)"',
        "!export API_KEY=`cat key`",
        "!export API_KEY=YOUR_API_KEY",
        "!export TOKENIZERS_PARALLELISM=false",
        "!run --token=hello --max-tokens=12345678 --key=flight_id1",
        "!run --password-file=/run/secrets/x1",
        "%%bash\n# PASSWORD=... is asked for\nexport PASSWORD=${PASSWORD:?}",
        "!curl -H 'Authorization: Bearer $TOKEN_1234567890' host",
        '!curl -H "Authorization: Bearer {token}" host',
        "headers = {'Authorization': f'Bearer {token}'}",
        "headers = {'Authorization': 'Bearer YOUR_TOKEN_1234'}",
        "'Authorization: Bearer authentication'",
        "x = 'eyJhbGciOiJIUzI1NiJ9'",
    ],
)
def test_what_is_no_secret_is_not(found, cell):
    assert found("LAB201", cell) == []


def test_what_is_found_does_not_hold_the_secret(found):
    (only,) = found("LAB201", f"password = '{GITHUB}'")
    assert (only.what, only.severity) == ("a GitHub token stands here", "error")


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["import os\nprint(os.environ['MY_API_KEY'])"], (1, 2)),
        (["from os import environ\nprint('key:', environ['TOKEN'])"], (1, 2)),
        (["import os\nprint(f'{os.getenv(\"DB_PASSWORD\")}')"], (1, 2)),
        (["import os\ndisplay(os.environ.get('X_SECRET', ''))"], (1, 2)),
        (["import os\nos.environ['X_TOKEN']"], (1, 2)),
        (["import os\nos.getenv('X_TOKEN')"], (1, 2)),
        (["import os\nprint(os.environ)"], (1, 2)),
        (["import os\nx = os.environ['X_TOKEN']", "print(x)"], (2, 1)),
        (["import os\nx = os.environ['X_TOKEN']", "x"], (2, 1)),
        (["import os\nprint('a' + os.environ['X_TOKEN'])"], (1, 2)),
        (["!echo $API_KEY"], (1, 1)),
        (['%%bash\nset -e\necho "${API_KEY}"'], (1, 3)),
        (["!env"], (1, 1)),
        (["!cd x; env | sort"], (1, 1)),
        (["%%bash\ncd x\nprintenv"], (1, 3)),
        (["!printenv API_KEY"], (1, 1)),
        (["x = 1\n%env"], (1, 2)),
        (["%env API_KEY"], (1, 1)),
    ],
)
def test_a_printed_secret_is_found(places, cells, where):
    assert places("LAB202", *cells) == [where]


@pytest.mark.parametrize(
    "cell",
    [
        "import os\nprint(os.environ['HOME'])",
        "import os\nprint('TOKEN' in os.environ)",
        "import os\nprint(len(os.environ['TOKEN']))",
        "import os\nprint(bool(os.getenv('TOKEN')))",
        "import os\nx = os.environ['X_TOKEN'];",
        "import os\nx = os.environ['X_TOKEN']\nx = 1\nprint(x)",
        "token = 1\nprint(token)",
        "import os\nlogin(os.environ['X_TOKEN'])",
        "import os\nos.environ['X_TOKEN'];",
        "!echo $HOME",
        "!curl -H $API_KEY host",
        "x = !env",
        "x = %env",
        "x = !echo $API_KEY",
        "!env | grep HOME",
        "!env A=1 run",
        "!printenv HOME",
        "%env HOME",
        "%env HOME=x",
        "!python -m venv env",
    ],
)
def test_what_prints_none_is_not(found, cell):
    assert found("LAB202", cell) == []


def test_large_outputs_are_found_at_the_largest(found):
    cells = ["1", code_cell("2", output="a" * 1_000_000), code_cell("3", output="b" * 4_500_000)]
    (only,) = found("LAB203", *cells)
    assert (only.cell, only.line) == (3, 1)
    assert only.what == "the stored outputs have 5.5 MB, those of this cell 4.5 MB"


def test_outputs_up_to_5_mb_and_long_code_are_not(found):
    assert found("LAB203", code_cell("1", output="a" * 4_900_000)) == []
    assert found("LAB203", "# " + "a" * 5_100_000) == []


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("x = 1\nwhile True:\n    x += 1", 2),
        ("while 1:\n    for i in x:\n        break", 1),
        ("while True:\n    def f():\n        return 1", 1),
        ("with a:\n    while True:\n        sleep(1)", 2),
    ],
)
def test_an_endless_loop_is_found(places, cell, line):
    assert places("LAB204", cell) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        "while True:\n    if x:\n        break",
        "while True:\n    for i in x: ...\n    else:\n        break",
        "while True:\n    queue.get(timeout=5)",
        "while True:\n    raise ValueError",
        "while True:\n    next(rows)",
        "while True:\n    sys.exit()",
        "while True:\n    if time() > timeout_at: stop()",
        "while x:\n    pass",
        "while False:\n    pass",
        "def serve():\n    while True:\n        pass",
        "import time\nwhile gpu.show('a').state == 'running':\n    time.sleep(1)",
    ],
)
def test_a_loop_with_an_end_is_not(found, cell):
    assert found("LAB204", cell) == []
