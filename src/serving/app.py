"""The HTTP side of a server: a request in, predictions or one sentence out."""

import asyncio
import hmac
import io
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pandas as pd
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from src.run.folder import Run
from src.serving.batch import Busy
from src.serving.loaded import TABLES, Loaded
from src.serving.process import SETTINGS, STARTUP_FAILURE, TOKEN
from src.system.environment import set_threads
from src.system.errors import UserError, is_told, sentence
from src.system.files import read_json, write_json

LOCAL = ("127.0.0.1", "::1")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

REQUESTS = Counter("reprise_requests", "Answered requests", ["run", "status"])
ROWS = Counter("reprise_rows", "Predicted rows", ["run"])
LATENCY = Histogram("reprise_seconds", "Seconds of an answered request", ["run"], buckets=SECONDS)
BATCH = Histogram("reprise_batch_rows", "Rows of a call of a model", buckets=[2**i for i in range(11)])


def create() -> FastAPIOffline:
    """Return the application of one worker, its runs loaded; a run that cannot be loaded ends the process."""
    settings = read_json(Path(os.environ[SETTINGS]))
    set_threads(1)  # of a batch's few rows; more workers use more cores
    try:
        loaded = [Loaded(name, settings, BATCH.observe) for name in settings["runs"]]
    except Exception as error:
        if not is_told(error):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr, flush=True)
        sys.exit(STARTUP_FAILURE)
    return application({one.name: one for one in loaded}, settings)


def application(loaded: dict[str, Loaded], settings: dict) -> FastAPIOffline:
    first = next(iter(loaded.values()))

    @asynccontextmanager
    async def lifespan(app):
        for one in loaded.values():
            one.open()
        yield
        for one in loaded.values():
            await one.batcher.close()

    app = FastAPIOffline(
        title=f"Reprise: {', '.join(loaded)}", version=first.name, lifespan=lifespan,
        description=f"Predictions of {', '.join(repr(one.run) for one in loaded.values())}",
    )  # fmt: skip
    failed = {status: {"description": text} for status, text in FAILURES.items()}

    def add(path: str, method: str, function, **options) -> None:
        app.add_api_route(path, function, methods=[method], response_model=None, **options)

    for one in loaded.values():
        options = {"openapi_extra": _request(one), "responses": {200: _response(one), **failed}}
        for path in [f"/runs/{one.name}/predict", *["/predict"][: one is first]]:
            add(path, "POST", _predict_of(one, settings), summary=f"Predict rows with {one.name}", **options)
    add("/health", "GET", lambda: {"status": "ok"}, summary="Tell that the process lives")
    add("/ready", "GET", lambda: {"status": "ready", "runs": [*loaded]}, summary="Tell what is loaded")

    async def metadata(request: Request):
        _authorized(request)
        return {"runs": [one.described() for one in loaded.values()]}

    add("/metadata", "GET", metadata, summary="Describe the runs: metrics, data, columns")
    add("/metrics", "GET", _metrics, summary="Counters for Prometheus")
    body = {"content": {"application/json": {"schema": SWITCH}}, "required": True}
    add("/switch", "POST", _switch, openapi_extra={"requestBody": body}, status_code=202,
        responses={**failed, 404: {"description": "no such run"}}, summary="Serve another run")  # fmt: skip
    app.add_exception_handler(HTTPException, _refused)
    return app


FAILURES = {
    400: "the body is no JSON", 401: "the token is missing or wrong", 403: "not from this machine",
    408: "the body did not come in time", 413: "the body is too large", 415: "an unknown content type",
    422: "rows that the run cannot predict, with the row and the column", 429: "too many rows wait",
}  # fmt: skip
SWITCH = {"type": "object", "required": ["run"], "properties": {"run": {"type": "string", "example": "t9"}}}


def _predict_of(one: Loaded, settings: dict):
    """Return the function that answers requests for predictions of a run."""

    async def predict(request: Request):
        began, status, n = time.perf_counter(), 500, 0
        try:
            _authorized(request)
            body = await asyncio.wait_for(_body(request, settings["max_bytes"]), settings["timeout"])
            rows = one.rows(body, _kind(request))
            found = await asyncio.wait_for(one.batcher.ask(rows), settings["timeout"])
            status, n = 200, len(found)
            return _answer(found, one.name, request.headers.get("accept", ""))
        except TimeoutError:
            status = 408
            raise HTTPException(408, {"error": f"no answer in {settings['timeout']} s"}) from None
        except Busy:
            status = 429
            answer = {"error": "too many rows wait: try again"}
            raise HTTPException(429, answer, {"Retry-After": "1"}) from None
        except UserError as error:
            status = 422
            raise HTTPException(422, {"error": str(error)} | getattr(error, "where", {})) from None
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            REQUESTS.labels(one.name, status).inc()
            ROWS.labels(one.name).inc(n)
            LATENCY.labels(one.name).observe(time.perf_counter() - began)

    return predict


def _request(one: Loaded) -> dict:
    """Return what the page of the server shows of a request: the columns, with an example."""
    schema = one.Request.model_json_schema(ref_template="#/components/schemas/{model}")
    row = schema.pop("$defs")["Row"]
    schema["properties"]["rows"]["items"] = row
    example = {"rows": row.pop("examples")}
    files = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TABLES}
    content = {"application/json": {"schema": schema, "example": example}} | files
    return {"requestBody": {"content": content, "required": True}}


def _response(one: Loaded) -> dict:
    """Return what the page shows of an answer: the prediction for the example."""
    found = one.answered
    example = {} if found is None else json.loads(_answer(found, one.name, "").body)
    return {"description": "a prediction of each row", "content": {"application/json": {"example": example}}}


async def _body(request: Request, limit: int) -> bytes:
    """Return the body, no more than ``limit`` bytes of it in memory."""
    found, n = [], 0
    async for chunk in request.stream():
        n += len(chunk)
        if n > limit:
            raise HTTPException(413, {"error": f"the body has over {limit:,} bytes: send fewer rows at once"})
        found.append(chunk)
    return b"".join(found)


def _kind(request: Request) -> str:
    """Return the content type of a body; JSON where none is named."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", *TABLES):
        known = ", ".join(("application/json", *TABLES))
        raise HTTPException(415, {"error": f"content-type {kind}: should be one of {known}"})
    return kind


def _answer(found: pd.DataFrame, name: str, accept: str) -> Response:
    """Return predictions as the client accepts them: JSON, CSV or Parquet."""
    if "text/csv" in accept:
        return Response(found.to_csv(index=False), media_type="text/csv")
    if "parquet" in accept:
        buffer = io.BytesIO()
        found.to_parquet(buffer, index=False)
        return Response(buffer.getvalue(), media_type="application/vnd.apache.parquet")
    columns = {column: values.tolist() for column, values in found.items()}
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    body = json.dumps({"run": name, "predictions": rows}, default=str)
    return Response(body, media_type="application/json")


def _authorized(request: Request, alone: bool = False) -> None:
    """Refuse a request without the token, if the server has one; ``alone``: without, one from elsewhere."""
    if token := os.environ.get(TOKEN):
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            answer = {"error": "the header Authorization: Bearer ... is missing or wrong"}
            raise HTTPException(401, answer, {"WWW-Authenticate": "Bearer"})
    elif alone and (request.client is None or request.client.host not in LOCAL):
        raise HTTPException(403, {"error": f"set {TOKEN} to switch from another machine"})


async def _switch(request: Request) -> dict:
    """Load another run, {"run": "t9"}: new workers take over when they are ready, no request is lost."""
    _authorized(request, alone=True)
    if _kind(request) != "application/json":  # a page elsewhere could send another one
        raise HTTPException(415, {"error": "content-type: should be application/json"})
    try:
        name = json.loads(await _body(request, 10_000))["run"]
        run = Run.open(str(name))
        if not (run.folder / "DONE").is_file():
            raise UserError(f"{run.name} is {run.status} and has no model")
    except UserError as error:
        raise HTTPException(404, {"error": str(error)}) from None
    except (ValueError, TypeError, KeyError):
        raise HTTPException(400, {"error": 'the body should be {"run": "t9"}'}) from None
    path = Path(os.environ[SETTINGS])
    settings = read_json(path)
    write_json(path, settings | {"runs": list(dict.fromkeys([run.name, *settings["runs"][1:]]))})
    os.kill(os.getppid(), signal.SIGHUP)  # new workers first, then the old ones end
    return {"run": run.name, "status": "loading: /ready tells when it is served"}


def _metrics(request: Request) -> Response:
    _authorized(request)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    content = error.detail if isinstance(error.detail, dict) else {"error": str(error.detail)}
    return JSONResponse(content, error.status_code, error.headers)
