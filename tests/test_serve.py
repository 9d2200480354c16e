"""A run over HTTP: answers equal the run's own, mistakes are one sentence, workers change without a loss."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT, QUIET, tiny_table, tiny_text, until
from test_predict import etl, raw_table, trained

from src import fit

SETTINGS = {"trust": False, "max_rows": 50, "max_batch": 64, "max_waiting": 200, "max_bytes": 20_000}


@pytest.fixture(scope="module")
def table(outputs):
    return tiny_table("binary").drop(columns="y")


@pytest.fixture(scope="module")
def run(outputs):
    path = outputs / "tiny.csv"
    tiny_table("binary").to_csv(path, index=False)
    words = ("model=mlp", "dataset=csv", f"dataset.path={path}", "dataset.target=y", "trainer.max_epochs=2")
    return fit(*words, *QUIET)


@pytest.fixture(scope="module")
def client(outputs):
    """``client(run, ...)`` is a client of a server of runs, in this process."""
    from fastapi.testclient import TestClient

    (outputs / "prometheus").mkdir()
    clients = []

    def opened(*runs, **settings):
        from src.serving.app import BATCH, application
        from src.serving.loaded import Loaded

        settings = SETTINGS | {"timeout": 20} | settings
        loaded = {one.name: Loaded(one.name, settings, BATCH.observe) for one in runs}
        clients.append(TestClient(application(loaded, settings)))
        return clients[-1].__enter__()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(outputs / "prometheus"))
        yield opened
        for one in clients:
            one.__exit__(None, None, None)


@pytest.fixture(scope="module")
def served(client, run):
    return client(run)


def as_json(frame: pd.DataFrame) -> dict:
    return {"rows": json.loads(frame.to_json(orient="records", double_precision=15))}


def test_answers_equal_the_run_itself(served, run, table):
    rows = table.head(40)
    expected = run.predict(rows)
    bodies = {"text/csv": rows.to_csv(index=False).encode()}
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    bodies["application/vnd.apache.parquet"] = buffer.getvalue()
    answers = [served.post("/predict", json=as_json(rows))]
    for kind, body in bodies.items():
        answers.append(served.post("/predict", content=body, headers={"content-type": kind}))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = pd.DataFrame(answer.json()["predictions"])
        assert found["id"].tolist() == expected["id"].tolist() and answer.json()["run"] == run.name
        assert found["prediction"].tolist() == expected["prediction"].tolist()
        assert np.abs(found["p_yes"] - expected["p_yes"]).max() < 1e-6


@pytest.mark.parametrize(
    ("accept", "read"), [("text/csv", pd.read_csv), ("application/x-parquet", pd.read_parquet)]
)
def test_the_client_chooses_the_format_of_the_answer(served, run, table, accept, read):
    answer = served.post("/predict", json=as_json(table.head(5)), headers={"accept": accept})
    found = read(io.BytesIO(answer.content))
    assert found["prediction"].tolist() == run.predict(table.head(5))["prediction"].tolist()


def test_requests_at_once_are_one_call_of_the_model(served, run, table):
    """Each client gets its own rows; one that fails does not fail the others."""
    expected, found = run.predict(table.head(40)), {}

    def ask(i: int):
        rows = as_json(table.iloc[i : i + 1])
        if i % 10 == 3:
            rows["rows"][0]["colour"] = {"no": "text"}
        answer = served.post("/predict", json=rows)
        good = answer.status_code == 200
        found[i] = answer.json()["predictions"][0]["p_yes"] if good else answer.status_code

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(40):
        assert found[i] == 422 if i % 10 == 3 else abs(found[i] - expected["p_yes"][i]) < 1e-6
    counts = served.get("/metrics").text
    assert f'reprise_requests_total{{run="{run.name}",status="422"}} 4.0' in counts


WRONG = {  # what is changed in a row, and the sentence
    "missing": (lambda row: row.pop("a"), "row 0 lacks the column a"),
    "extra": (lambda row: row.update(aa=1), "row 0 has a column aa; the run reads a, b, c, d, colour"),
    "text": (lambda row: row.update(a="12x"), "row 0, column a: input should be a valid number.*'12x'"),
    "list": (lambda row: row.update(a=[1]), r"row 0, column a: input should be a valid number.*\[1\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_one_sentence_with_its_place(served, table, case):
    import re

    change, says = WRONG[case]
    body = as_json(table.head(1))
    change(body["rows"][0])
    answer = served.post("/predict", json=body)
    assert answer.status_code == 422 and re.search(says, answer.json()["error"])
    assert answer.json()["row"] == 0 and answer.json()["column"] in ("a", "aa")


@pytest.mark.parametrize(
    ("body", "kind", "code", "says"),
    [
        (b"", "application/json", 422, "invalid JSON"),
        (b"[1]", "application/json", 422, "should be an object"),
        (b'{"rows": []}', "application/json", 422, "at least 1"),
        (b'{"rows": [' + b"{}," * 60 + b"{}]}", "application/json", 422, "at most 50"),
        (b'{"rows": [NaN]}', "application/json", 422, "row 0: input should be an object"),
        (b"\xff\xfe", "application/json", 422, "invalid"),
        (b" " * 20_001, "application/json", 413, "20,000 bytes"),
        (b"x", "image/png", 415, "image/png: should be one of application/json"),
        (b"a,b\n1,2\n", "text/csv", 422, "missing columns: c, d, colour"),
        (b"", "text/csv", 422, "the body is empty"),
        (b"PAR1", "application/x-parquet", 422, "the body is not a readable Parquet file"),
        (b"a,b,c,d,colour\n" + b"1,2,3,4,red\n" * 51, "text/csv", 422, "51 rows: should be 1 to 50"),
    ],
)
def test_a_wrong_body_is_one_sentence(served, body, kind, code, says):
    answer = served.post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == code and says in answer.json()["error"]
    assert "Traceback" not in answer.text and "/tmp" not in answer.text


def test_an_empty_cell_and_an_unknown_category_are_rows_like_others(served, run, table):
    rows = table.head(2).assign(c=None, colour=["purple", None])
    answer = served.post("/predict", json=as_json(rows))
    expected = run.predict(rows.assign(c=np.nan))["p_yes"]
    assert [round(row["p_yes"], 6) for row in answer.json()["predictions"]] == expected.round(6).tolist()


def test_the_page_shows_columns_types_known_values_and_an_example_that_works(served, run):
    api = served.get("/openapi.json").json()
    content = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = content["schema"]["properties"]["rows"]["items"]
    assert row["required"] == ["a", "b", "c", "d", "colour"]
    assert row["properties"]["colour"]["description"] == "known: blue, green, red"
    assert "median" in row["properties"]["a"]["description"]
    answer = served.post("/predict", json=content["example"])
    shown = api["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert answer.status_code == 200 and answer.json() == shown
    page = served.get("/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com/img/favicon.png", "")  # no internet
    for path in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert path in page and served.get(f"/static-offline-docs/{path}").status_code == 200


def test_what_the_server_tells_of_the_run(served, run):
    (told,) = served.get("/metadata").json()["runs"]
    assert told["run"] == run.name and told["classes"] == ["no", "yes"] and told["task"] == "binary"
    assert told["metrics"] == run.report["metrics"] and told["data_digest"] == run.report["data_digest"]
    assert served.get("/health").json() == {"status": "ok"}
    assert served.get("/ready").json() == {"status": "ready", "runs": [run.name]}


def test_raw_rows_go_through_the_etl_and_keep_their_ids(client, outputs):
    raw_table().to_csv(outputs / "raw.csv", index=False)
    run = trained(outputs / "raw.csv", etl)
    client, rows = client(run), raw_table(20, seed=1).drop(columns="churned")
    answer = client.post("/predict", json=as_json(rows))
    assert answer.status_code == 200, answer.text
    found, expected = pd.DataFrame(answer.json()["predictions"]), run.predict(rows)
    assert found["id"].tolist() == [f"c{i}" for i in range(20)]
    assert np.abs(found["p_yes"] - expected["p_yes"]).max() < 1e-6
    wrong = as_json(rows.head(1))
    wrong["rows"][0]["Income ($)"] = "much"
    answer = client.post("/predict", json=wrong)
    assert answer.status_code == 422 and "could not convert string to float: 'much'" in answer.json()["error"]


def test_text_and_values(client, outputs):
    """A text model and a regression answer, too; several runs have their own paths."""
    tiny_text().to_csv(outputs / "text.csv", index=False)
    tiny_table("regression").to_csv(outputs / "value.csv", index=False)
    words = (f"dataset.path={outputs}/text.csv", "dataset.target=label", "model=cnn", "trainer.max_epochs=1")
    text = fit("dataset=csv", *words, *QUIET)
    words = (f"dataset.path={outputs}/value.csv", "dataset.target=y", "model=linear")
    value = fit("dataset=csv", *words, *QUIET)
    client, sentences = client(text, value), tiny_text(5, seed=3)[["sentence"]]
    answer = client.post("/predict", json=as_json(sentences)).json()
    expected = text.predict(sentences)
    assert [row["prediction"] for row in answer["predictions"]] == expected["prediction"].tolist()
    rows = tiny_table("regression").drop(columns="y").head(3)
    answer = client.post(f"/runs/{value.name}/predict", json=as_json(rows)).json()
    found = [row["prediction"] for row in answer["predictions"]]
    assert np.allclose(found, value.predict(rows)["prediction"])


def test_a_proven_export_is_served_until_the_run_changes(client, run, table):
    from src.format.export import export

    export(run, "onnx")
    served, rows = client(run), table.head(30)
    assert served.get("/metadata").json()["runs"][0]["runtime"] == "onnx"
    found = pd.DataFrame(served.post("/predict", json=as_json(rows)).json()["predictions"])
    expected = run.predict(rows)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert 0 < np.abs(found["p_yes"] - expected["p_yes"]).max() < 1e-5  # other code, so not the same bits
    (run.folder / "DONE").touch()  # as a resume for more epochs does
    assert client(run).get("/metadata").json()["runs"][0]["runtime"] == "run"


def test_a_token_guards_all_but_health(client, run, table, monkeypatch):
    monkeypatch.setenv("REPRISE_TOKEN", "so secret")
    client, body = client(run), as_json(table.head(1))
    good = {"authorization": "Bearer so secret"}
    for headers in ({}, {"authorization": "Bearer no"}, {"authorization": "so secret "}):
        answer = client.post("/predict", json=body, headers=headers)
        assert answer.status_code == 401 and "so secret" not in answer.text
        assert client.get("/metadata", headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.post("/switch", json={"run": run.name}, headers=headers).status_code == 401
    assert client.post("/predict", json=body, headers=good).status_code == 200
    assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_too_many_rows_at_once_are_sent_away(client, run, table):
    client = client(run, max_waiting=30)
    answer = client.post("/predict", json=as_json(table.head(40)))
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert client.post("/predict", json=as_json(table.head(30))).status_code == 200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run=t99"], "no run t99"),
        (["run={run}", "workers=0"], "workers=0: should be at least 1"),
        (["run={run}", "port={taken}"], "port={taken}: Address already in use; choose another port"),
        (["run={run}", "host=no.such.host.invalid"], "host=no.such.host.invalid"),
    ],
)
def test_a_mistake_at_the_start_is_one_sentence(run, words, says):
    from src.serve import serve
    from src.system.errors import UserError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = {"run": run.name, "taken": taken.getsockname()[1]}
        words = dict(word.format(**places).split("=") for word in words)
        words |= {name: int(value) for name, value in words.items() if name in ("port", "workers")}
        with pytest.raises(UserError, match=says.format(**places)):
            serve(**words)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """``python -m src.serve`` in processes of its own."""

    def __init__(self, outputs, *words: str):
        self.port = free_port()
        command = [sys.executable, "-m", "src.serve", f"port={self.port}", *words]
        self.log = open(outputs / f"serve_{self.port}.txt", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdout=self.log, stderr=self.log)
        self.address = f"http://127.0.0.1:{self.port}"

    def ready(self) -> dict | None:
        import httpx

        try:
            return httpx.get(f"{self.address}/ready", timeout=2).json()
        except httpx.HTTPError:
            assert self.process.poll() is None, self.told()
            return None

    def told(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def end(self, sign=signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(200)


def test_a_server_answers_and_ends_cleanly(outputs, run, table):
    import httpx

    server = Server(outputs, f"run={run.name}")
    try:
        until(server.ready)
        answer = httpx.post(f"{server.address}/predict", json=as_json(table.head(3)))
        assert len(answer.json()["predictions"]) == 3
    finally:
        assert server.end(signal.SIGINT) in (0, 130)
    told = server.told()
    assert told.startswith(f"serving   {run.name} at {server.address}") and "Traceback" not in told
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/health")


@pytest.mark.slow
def test_a_model_that_cannot_be_read_ends_the_server_with_a_sentence(outputs, run):
    import shutil

    from src import load

    folder = outputs / "runs" / "t9001"
    shutil.copytree(run.folder, folder)
    for path in (folder / "model").iterdir():
        path.rename(path.with_name("model_t9001.pt"))
    (folder / "model" / "model_t9001.pt").write_bytes(b"no model")
    try:
        server = Server(outputs, "run=t9001")
        assert server.process.wait(90) == 1
        assert "error: " in server.told() and "t9001" in server.told() and "Traceback" not in server.told()
        assert load("t9001").status == "done"
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_of_10_000_is_lost_in_ten_restarts(outputs, run, table):
    """Eight clients ask all the time while the workers are replaced, and the run is switched and back."""
    import httpx

    path = outputs / "tiny.csv"
    words = ("model=linear", "dataset=csv", f"dataset.path={path}", "dataset.target=y")
    other = fit(*words, *QUIET)
    server = Server(outputs, f"run={run.name}", "workers=2")
    answers, failures, body = [], [], as_json(table.head(1))
    stop = threading.Event()

    def ask():
        while not stop.is_set() or len(answers) < 10_000:
            try:
                answer = httpx.post(f"{server.address}/predict", json=body, timeout=60)
                (answers if answer.status_code == 200 else failures).append(answer.json())
            except httpx.HTTPError as error:
                failures.append(repr(error))

    try:
        until(server.ready)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for i in range(10):
            target = (run, other)[i % 2 == 0]
            if i < 4:
                assert httpx.post(f"{server.address}/switch", json={"run": target.name}).status_code == 202
            else:
                os.kill(server.process.pid, signal.SIGHUP)
            seen = len(answers)
            until(lambda seen=seen: len(answers) > seen + 200)
            time.sleep(3)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        assert server.end() == 0
    assert not failures and len(answers) >= 10_000
    assert {answer["run"] for answer in answers} == {run.name, other.name}


def mutated(rng: np.random.Generator, table: pd.DataFrame) -> tuple[bytes, str]:
    """Return a request's body, mostly wrong in one place, and its content type."""
    rows = as_json(table.sample(rng.integers(1, 5), random_state=int(rng.integers(1e6))))
    odd = [None, True, -1, 10**400, 1.5, "", "ä\x00", "9" * 300, [], {}, [[[1]]], {"a": {"a": 1}}, "NaN"]
    row = rows["rows"][rng.integers(len(rows["rows"]))]
    kind = rng.integers(6)
    if kind == 0:
        row[str(rng.choice([*row]))] = odd[rng.integers(len(odd))]
    elif kind == 1:
        rows = odd[rng.integers(len(odd))]
    elif kind == 2:
        row[str(odd[rng.integers(len(odd))])] = 1
    content, name = json.dumps(rows).encode(), "application/json"
    if kind == 3:
        buffer = io.BytesIO()
        table.head(3).to_parquet(buffer)
        content, name = buffer.getvalue(), "application/vnd.apache.parquet"
    elif kind == 4:
        content, name = table.head(3).to_csv(index=False).encode(), "text/csv"
    if kind > 2 and rng.random() < 0.7:
        at = rng.integers(0, len(content), 3)
        content = bytearray(content)
        content[at[0]], content[at[1] :] = rng.integers(256), content[at[2] :]
    return bytes(content), name if rng.random() < 0.9 else str(rng.choice(["text/x-fasta", "a/b", "", "ü"]))


@pytest.mark.slow
def test_10_000_odd_requests_find_no_crash_and_no_leak(outputs, run, table):
    """All are answered by 200 or 4xx; the worker stays the same process and does not grow."""
    import httpx
    import psutil

    server = Server(outputs, f"run={run.name}")
    try:
        until(server.ready)
        (worker,) = [
            child for child in psutil.Process(server.process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]  # fmt: skip
        codes, sizes = {}, []
        with httpx.Client(base_url=server.address, timeout=60) as client:
            rng = np.random.default_rng(0)
            for i in range(10_000):
                content, kind = mutated(rng, table)
                headers = {"content-type": kind.encode("utf-8")}
                code = client.post("/predict", content=content, headers=headers).status_code
                codes[code] = codes.get(code, 0) + 1
                if i % 1000 == 999:
                    sizes.append(worker.memory_info().rss)
        assert {*codes} <= {200, 400, 413, 415, 422} and codes[200] > 1000 and codes[422] > 1000, codes
        assert worker.is_running() and sizes[-1] < 1.05 * sizes[1], sizes
    finally:
        server.end()
    assert "Traceback" not in server.told()


@pytest.mark.slow
def test_the_form_of_the_page_works_in_a_browser(outputs, run):
    """Headless Chromium, without the internet: the example is sent, and the answer read."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    import shutil

    browser_path = shutil.which("chromium") or shutil.which("chrome")
    server = Server(outputs, f"run={run.name}")
    try:
        until(server.ready)
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{server.address}/docs")
            page.locator("#operations-default-predict_predict_post").get_by_role("button").first.click()
            page.get_by_role("button", name="Try it out").click()
            typed = page.locator("textarea.body-param__text")
            assert json.loads(typed.input_value())["rows"][0].keys() == {"a", "b", "c", "d", "colour"}
            page.get_by_role("button", name="Execute").click()
            answer = page.locator(".responses-table.live-responses-table .highlight-code").first
            assert '"prediction": "' in answer.inner_text(timeout=20_000)
            page.screenshot(path=str(outputs / "docs.png"), full_page=True)
            browser.close()
    finally:
        server.end()
