"""LAB301 to LAB303 and LAB305: whether the next run can give the same again."""

import pytest

LOAD = "%load_ext aiinfra_lab"


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["import numpy as np\nx = np.random.rand(3)"], (1, 2)),
        (["from numpy.random import normal\nnormal()"], (1, 2)),
        (["import random", "random.shuffle(x)"], (2, 1)),
        (["from random import choice as c\nc(x)"], (1, 2)),
        (["import torch\ntorch.randn(3)"], (1, 2)),
        (["import numpy as np\nnp.random.default_rng().normal()"], (1, 2)),
        (["import numpy as np\nnp.random.default_rng(None)"], (1, 2)),
        (["import random\nrandom.Random()"], (1, 2)),
        (["import numpy as np, random\nrandom.seed(1)", "np.random.rand()"], (2, 1)),
        ([LOAD, "%%gpu run a\nimport torch\ntorch.rand(3)"], (2, 3)),
    ],
)
def test_numbers_without_a_seed_are_found(places, cells, where):
    assert places("LAB301", *cells) == [where]


@pytest.mark.parametrize(
    "cells",
    [
        ["import numpy as np\nnp.random.seed(0)\nnp.random.rand(3)"],
        ["import numpy as np\nrng = np.random.default_rng(7)\nrng.normal()"],
        ["import numpy as np\nnp.random.default_rng(seed=seed)"],
        ["import random\nrandom.seed(1)", "random.random()"],
        ["import random\nr = random.Random(1)\nr.random()"],
        ["import torch\ntorch.manual_seed(0)", "torch.rand(3)"],
        ["import torch\ntorch.rand(3, generator=g)"],
        ["from lightning import seed_everything\nseed_everything(1)", "import random\nrandom.random()"],
        [LOAD, "%%train run a --rows x\nimport torch\ntorch.randperm(3)"],
        ["import torch\ntorch.zeros(3)"],
        ["random = load()\nrandom.choice(x)"],
        ["secrets.choice(x)"],
    ],
)
def test_numbers_with_one_are_not(found, cells):
    assert found("LAB301", *cells) == []


def test_each_library_is_named_once(places):
    assert places("LAB301", "import random, torch\nrandom.random()\nrandom.random()\ntorch.rand(1)") == [(1, 2), (1, 4)]


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        (f"{LOAD}\n%gpu start a --on kubernetes --image pytorch/pytorch:latest", 2),
        (f"{LOAD}\n%models add a --from models:b@latest", 2),
        ("!docker run python:latest", 1),
        ("%%bash\nset -e\ndocker pull 'a/b:latest'", 3),
    ],
)
def test_latest_is_found(places, cell, line):
    assert places("LAB302", cell) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        f"{LOAD}\n%gpu start a --image pytorch/pytorch:2.6",
        f"{LOAD}\n%models show a@7  # not a:latest",
        "latest = 'python:latest'",
        "!echo a:latest",
        "!docker run python:latest-slim",
        "!docker ps",
        "%time latest",
    ],
)
def test_a_version_is_not(found, cell):
    assert found("LAB302", cell) == []


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["import pandas as pd\ndf = pd.read_csv('https://host/a.csv')"], (1, 2)),
        (["import polars as pl\npl.scan_parquet('s3://bucket/a.parquet')"], (1, 2)),
        (["import requests\nrequests.get('http://host/a').json()"], (1, 2)),
        (["import requests\nrequests.get(f'http://host/{name}')"], (1, 2)),
        (["from urllib.request import urlopen\nurlopen(url='https://host')"], (1, 2)),
        (["URL = 'https://host/a.csv'", "import pandas as pd\npd.read_csv(URL)"], (2, 2)),
        (["!wget https://host/a.csv"], (1, 1)),
        (["%%bash\nset -e\ncurl -sO https://host/a.csv"], (1, 3)),
    ],
)
def test_a_read_from_the_network_is_found(places, cells, where):
    assert places("LAB303", *cells) == [where]


@pytest.mark.parametrize(
    "cell",
    [
        "import pandas as pd\npd.read_csv('a.csv')",
        "import pandas as pd\npd.read_csv(path)",
        "import requests\nrequests.get('http://127.0.0.1:8000/health')",
        "import requests\nrequests.get('http://localhost/x')",
        "import requests\nrequests.get(endpoint.url)",
        "import requests\nrequests.post('https://hooks.example/x', json={})",
        "url = 'https://host/docs'",
        "!curl -X POST https://host/hook",
        "!curl http://localhost:8000",
        "import pandas as pd\nurl = 'https://a'\nurl = path\npd.read_csv(url)",
    ],
)
def test_what_reads_nothing_from_there_is_not(found, cell):
    assert found("LAB303", cell) == []


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("from aiinfra_lab import data\nrows = data.get('flights').df()", 2),
        ("import aiinfra_lab\naiinfra_lab.data.get('data:late-ones')", 2),
        (f"{LOAD}\nx = %data get flights", 2),
        ("from aiinfra_lab import data\ndata.get('a')\ndata.add('a', table)", 2),
    ],
)
def test_data_that_no_recipe_names_is_found(places, cell, line):
    assert places("LAB305", cell) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        "from aiinfra_lab import data\ndata.get('flights@3')",
        "from aiinfra_lab import data\ndata.get(flights)",
        f"{LOAD}\n%data get {{flights}}",
        f"{LOAD}\n%data get $flights",
        f"{LOAD}\n%data show flights",
        "from aiinfra_lab import data\ndata.add('a', table)\ndata.get('a').df()",
        f"{LOAD}\n%data add a raw.csv\n%data get a",
        "data = {}\ndata.get('flights')",
        "def get(name): ...\nget('flights')",
    ],
)
def test_what_a_parameter_or_a_version_names_is_not(found, cell):
    assert found("LAB305", cell) == []


def test_what_it_says_is_how_to_name_it(found):
    (problem,) = found("LAB305", "from aiinfra_lab import data\ndata.get('late-ones')")
    assert problem.fix == 'take it in the step: in = { late_ones = "data:late-ones" }, and get that'
