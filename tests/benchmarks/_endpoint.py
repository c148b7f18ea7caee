"""`python -m tests.benchmarks._endpoint KIND PORT FOLDER`: one server of a model's folder, for a benchmark to ask.

Kinds: `ours` (validation, log, counts and metrics on; also in a checkout of before models had processes of their own),
`faulty` (the same, whose model can be made to hang or crash; it has a canary at a tenth of the keys), `naive` (FastAPI
and pydantic around the same network in eager torch, as most first endpoints are, without log or counts), `swapping`
(as `ours`, with another version twice a second), `judged` (as `faulty`, with the canary judged every ten seconds).
"""

import asyncio
import gc
import itertools
import json
import logging
import sys
import tempfile
from pathlib import Path

FAULTY = (sys.executable, "-m", "tests.fakes.faulty_fork_server")
SHARE = 0.1
SWAP_S = 0.5
LOOK_S = 10.0

_forks: list = []


def main(kind: str, port: int, folder: Path) -> None:
    """Serve until killed."""
    logging.basicConfig(level=logging.ERROR)
    if kind == "naive":
        naive(port, folder)
        return
    import uvloop

    uvloop.run(ours(port, folder, kind))


async def ours(port: int, folder: Path, kind: str) -> None:
    from aiinfra_lab.deploy.ports import bind
    from aiinfra_lab.deploy.server.http_api import HttpApi
    from aiinfra_lab.deploy.server.predictions_log import PredictionsLog
    from aiinfra_lab.deploy.server.predictor import Predictor
    from aiinfra_lab.deploy.server.protocol import Server

    loop, is_faulty = asyncio.get_running_loop(), kind in ("faulty", "judged")
    predictor = Predictor(PredictionsLog(Path(tempfile.mkdtemp()) / "log", 1e9), loop)
    uris = ("models:delay@1", "models:delay@2") if is_faulty else ("models:delay@1",)
    versions = [await _version(predictor, loop, uri, folder, is_faulty) for uri in uris]
    predictor.routes = _routes(versions)
    api = HttpApi("delay", "benchmark", predictor, lambda done: done())
    # The code of an earlier version counts refusals alone.
    server = Server(api.handle, loop, getattr(predictor, "tallies", None) or predictor.refused)
    gc.collect()
    gc.freeze()
    await loop.create_server(server.connect, sock=bind(port), backlog=512)
    if kind == "judged":
        await _judged(predictor, loop)
    for number in itertools.count(2):
        if kind != "swapping":
            await asyncio.Event().wait()
        await asyncio.sleep(SWAP_S)
        gone = versions[0]
        versions[0] = await _version(predictor, loop, f"models:delay@{number}", folder, is_faulty)
        predictor.routes = _routes(versions)
        gone.workers.retire()


def _routes(versions):
    """All for the only one, or SHARE of the keys for the second."""
    from aiinfra_lab.deploy.server import predictor

    if not hasattr(predictor, "ServedArm"):  # the code of an earlier version
        return predictor.Routes(*versions, **({"share": SHARE, "salt": "s"} if versions[1:] else {}))
    shares = (("champion", 1 - SHARE), ("canary", SHARE)) if versions[1:] else (("champion", 1.0),)
    arms = [predictor.ServedArm(version, *share) for version, share in zip(versions, shares, strict=True)]
    return predictor.Routes(arms, salt="s")


async def _judged(predictor, loop):
    """What the endpoint's watch does: judge the canary, and take its traffic away."""
    from aiinfra_lab.deploy.server.judge import Judge
    from aiinfra_lab.stats.bounds import parse_bounds

    champion = predictor.routes.champion.version.counts
    judge = Judge(parse_bounds("errors > 1%"), share=SHARE, salt="s", champion=champion, look_s=LOOK_S)
    predictor.routes.judge = judge
    while True:
        await asyncio.sleep(LOOK_S)
        if (await loop.run_in_executor(None, judge.evaluate)).state == "breach":
            predictor.routes = predictor.routes.without_canary()
            return


async def _version(predictor, loop, uri, folder, is_faulty):
    try:
        from aiinfra_lab.deploy.server.forks import Forks
    except ImportError:
        from aiinfra_lab.deploy.server import model

        return predictor.version(model.load(uri, folder))
    opened = loop.create_future()
    if not _forks:
        _forks.append(Forks(FAULTY) if is_faulty else Forks())
        _forks[0].attach(loop)
    predictor.open(uri, folder, {}, _forks[0], opened.set_result)
    return await opened


def naive(port: int, folder: Path) -> None:
    import pydantic
    import torch
    import uvicorn
    from fastapi import FastAPI

    from aiinfra_lab.features.contract import Columns

    from .any import _network

    columns = json.loads((folder / "columns.json").read_text())["columns"]
    fields = {item["name"]: (str if item["type"] == "category" else float, ...) for item in columns}
    row = pydantic.create_model("row", **fields)
    body = pydantic.create_model("body", rows=(list[row], ...))
    torch.set_num_threads(1)
    network = _network(Columns.from_json((folder / "columns.json").read_text()))
    places = {item["name"]: {value: at for at, value in enumerate(item.get("categories", []), 1)} for item in columns}
    app = FastAPI()

    @app.post("/predict")
    def predict(asked: body) -> dict:
        numbers = [
            [(getattr(one, item["name"]) - item["mean"]) / item["std"] for item in columns if item["type"] == "number"]
            for one in asked.rows
        ]
        codes = [
            [places[item["name"]].get(getattr(one, item["name"]), 0) for item in columns if item["type"] == "category"]
            for one in asked.rows
        ]
        with torch.inference_mode():
            scores = network(torch.tensor(numbers, dtype=torch.float32), torch.tensor(codes))
        return {"predictions": [{"score": score} for score in scores.tolist()]}

    uvicorn.run(app, port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
