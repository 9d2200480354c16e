"""Micro-batches: requests that come while the model is at work are predicted together in its next call."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from src.system.errors import UserError


class Busy(Exception):
    """More rows wait than a server takes."""


class Batcher:
    """Call ``predict`` in one thread, for as many waiting requests at once as ``max_rows`` allows.

    No request waits for others to come: a batch is what has gathered while the last one was predicted.

    predict : takes a DataFrame and returns one, a row for each of its rows
    watch : called with the number of rows of each batch
    """

    def __init__(self, predict, max_rows: int, max_waiting: int, watch=lambda n: None):
        self.predict, self.max_rows, self.max_waiting, self.watch = predict, max_rows, max_waiting, watch
        self.queue, self.n_waiting = asyncio.Queue(), 0
        self.thread = ThreadPoolExecutor(1)
        self.task = asyncio.create_task(self._work())

    async def ask(self, rows: dict[str, list] | pd.DataFrame) -> pd.DataFrame:
        """Return the predictions of rows: {column: values}, or a table, which is never joined with others."""
        n = len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)
        if self.n_waiting + n > self.max_waiting:
            raise Busy
        self.n_waiting += n
        future = asyncio.get_running_loop().create_future()
        try:
            await self.queue.put((rows, n, future))
            return await future
        finally:
            self.n_waiting -= n

    async def close(self) -> None:
        """Answer what waits, then stop."""
        while self.n_waiting:
            await asyncio.sleep(0.01)
        self.task.cancel()
        self.thread.shutdown()

    async def _work(self) -> None:
        loop, left = asyncio.get_running_loop(), None
        while True:
            batch = [left or await self.queue.get()]
            left, n = None, batch[0][1]
            while not self.queue.empty() and left is None:
                one = self.queue.get_nowait()
                fits = _joins(batch[0][0], one[0]) and n + one[1] <= self.max_rows
                batch, left, n = ([*batch, one], None, n + one[1]) if fits else (batch, one, n)
            batch = [one for one in batch if not one[2].done()]  # those whose time is up
            if batch:
                answers = await loop.run_in_executor(self.thread, self._answers, [one[0] for one in batch])
                for (_, _, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        failed = isinstance(answer, Exception)
                        (future.set_exception if failed else future.set_result)(answer)

    def _answers(self, requests: list) -> list:
        """Return a table, or the exception, of each request; one that fails does not fail the others."""
        try:
            if len(requests) == 1:
                frame = requests[0] if isinstance(requests[0], pd.DataFrame) else pd.DataFrame(requests[0])
                self.watch(len(frame))
                return [self.predict(frame)]
            joined = {name: [cell for one in requests for cell in one[name]] for name in requests[0]}
            found, at = self.predict(pd.DataFrame(joined)), 0
            self.watch(len(found))
            answers = []
            for one in requests:
                n = len(next(iter(one.values())))
                answers.append(found.iloc[at : at + n])
                at += n
            return answers
        except Exception as error:
            if len(requests) == 1 or not isinstance(error, UserError):
                return [error] * len(requests)
            return [self._answers([one])[0] for one in requests]


def _joins(a, b) -> bool:
    return isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys()
