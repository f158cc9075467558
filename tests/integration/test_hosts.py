"""Pools of hosted models: their answers, who shares an actor, and what is ended for whom."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import raw2s.orchestration.hosts
from raw2s.models.loading import load_classifier, load_tokenizer
from raw2s.models.operations import run
from raw2s.models.scratch import new_model, train_tokenizer
from raw2s.nodes import Group
from raw2s.orchestration import dispatch, inference
from raw2s.orchestration.board import Board
from raw2s.orchestration.host import ModelHost, Request
from raw2s.orchestration.hosts import Hosts
from raw2s.orchestration.inference import ask_at_once, ask_in_turn
from raw2s.stages.kept import kept
from raw2s.storage.tables import encoded
from raw2s.store import Job, Store

TEXTS = [f"play {a} {b}" for a in ("jazz", "rock", "folk") for b in range(17)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = []
    for seed in range(3):
        folder = tmp_path_factory.mktemp("model")
        tokenizer = train_tokenizer("byte_bpe", TEXTS, 270)
        model = new_model(
            "gpt2", tokenizer, hidden_size=16, layers=1, heads=2, context=64, seed=seed
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made.append(str(folder))
    return made


@pytest.fixture
def ending(board: Any) -> Iterator[ExitStack]:
    """Ends the actors that a test has started, also where it fails."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def board(ray_session: None) -> Iterator[Any]:
    import ray

    actor = ray.remote(num_cpus=0)(Board).remote()
    yield actor
    ray.kill(actor)


def request(folder: str, *, actors: int = 1, cpus: float = 0.25, rows: int = 51) -> Request:
    runtime = {"actors": actors, "cpus": cpus, "gpus": 0, "nodes": {}, "batch_size": 4}
    table = pd.DataFrame({"id": [f"r{i}" for i in range(rows)], "text": TEXTS[:rows]})
    job = Job("label", folder, {"source": {"path": folder}}, {}, runtime)
    return Request(job, Store(Path(folder).parent).address(), 2, "classify", {}, table)


def expected(folder: str, rows: pd.DataFrame) -> np.ndarray:
    model = load_classifier(folder, num_labels=2, device="cpu")
    table = run(model, load_tokenizer(folder), rows, operation="classify", options={}, batch_size=4)
    return np.stack(table["probabilities"])


def actors_of(pools: list[list[Any]]) -> list[str]:
    return [actor._actor_id.hex() for pool in pools for actor in pool]


def test_every_model_answers_its_rows_in_their_order(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    hosts = Hosts(board)
    ending.callback(hosts.release)
    requests = [request(folders[0], actors=2), request(folders[1], rows=7), request(folders[2])]
    answers = ask_at_once(requests, hosts, board)
    for asked, answer in zip(requests, answers, strict=True):
        assert list(answer.rows["id"]) == list(asked.rows["id"])
        found = np.stack(answer.rows["probabilities"])
        np.testing.assert_allclose(found, expected(asked.job.title, asked.rows), atol=1e-6)
    assert [len(answer.actors) for answer in answers] == [2, 1, 1]
    every = [actor["actor"] for answer in answers for actor in answer.actors]
    assert len(set(every)) == 4
    # Few actors in turn, the same answers.
    again = ask_in_turn(requests, hosts.any(1, requests[0].job.runtime), board)
    for first, second in zip(answers, again, strict=True):
        assert encoded(first.rows) == encoded(second.rows)


def test_a_limit_makes_waves_whose_actors_take_over_models(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    hosts = Hosts(board, limit=2)
    ending.callback(hosts.release)
    requests = [request(folder) for folder in folders]
    assert [len(wave) for wave in hosts.waves(requests)] == [2, 1]
    first = actors_of(hosts.bring_up(requests[:2]))
    # The third model is hosted by the actor of the first, which was wanted longest ago.
    assert actors_of(hosts.bring_up(requests[2:])) == first[:1]
    # The second is still there, and now the first takes the third's place.
    assert actors_of(hosts.bring_up(requests[1:2])) == first[1:]
    assert actors_of(hosts.bring_up(requests[:1])) == first[:1]


def test_pools_of_another_size_are_ended_where_there_is_no_room(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    hosts = Hosts(board)
    ending.callback(hosts.release)
    small = [request(folder, cpus=0.8) for folder in folders[:2]]
    large = request(folders[2], cpus=1.5)
    assert [len(wave) for wave in hosts.waves([*small, large])] == [2, 1]
    before = actors_of(hosts.bring_up(small))
    assert not set(actors_of(hosts.bring_up([large]))) & set(before)
    # Other work that needs one CPU has no room beside 1.5 of 2; 0.5 it has.
    hosts.make_room([Group(1, 0.5)])
    kept = actors_of(hosts.bring_up([large]))
    hosts.make_room([Group(1, 1)])
    assert actors_of(hosts.bring_up([large])) != kept


def test_actors_without_a_place_are_waited_for_and_left_out(
    folders: list[str],
    board: Any,
    ending: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import ray

    monkeypatch.setattr(raw2s.orchestration.hosts, "_PATIENCE_SECONDS", 0.5)
    # However slowly the process of one that has a place starts.
    monkeypatch.setattr(raw2s.orchestration.hosts, "_WAITS", 1000)
    held = [ray.remote(Board).options(num_cpus=cpus).remote() for cpus in (1.6, 0.4)]
    for other in held:
        ending.callback(ray.kill, other)
    ray.get([other.__ray_ready__.remote() for other in held])
    hosts = Hosts(board, room={"CPU": 2, "GPU": 0})
    ending.callback(hosts.release)
    asked = request(folders[0], actors=2, cpus=0.3)
    with ThreadPoolExecutor() as threads:
        up = threads.submit(hosts.bring_up, [asked])
        deadline = time.monotonic() + 60
        while "2 of 2 actors wait for a place" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.1)
        # Now there is room for one of them.
        ray.kill(held[1])
        [pool] = up.result(timeout=120)
    assert "2 of 2 actors wait for a place" in caplog.text
    assert len(pool) == 1
    [answer] = inference.ask([asked], [pool], board, helpers=[[]])
    found = np.stack(answer.rows["probabilities"])
    np.testing.assert_allclose(found, expected(folders[0], asked.rows), atol=1e-6)


def actor_of(kind: type, board: Any, ending: ExitStack) -> Any:
    import ray
    from ray.cloudpickle import register_pickle_by_value

    # Ray's workers cannot import a test.
    register_pickle_by_value(sys.modules[__name__])
    host = ray.remote(max_restarts=-1, max_task_retries=-1)(kind)
    actor = host.options(num_cpus=0.1).remote(board)
    ending.callback(ray.kill, actor)
    return actor


def answered(
    asked: Request, actors: list[Any], board: Any, helpers: Sequence[Any] = ()
) -> inference.Answer:
    """As `ask` does, but handed out by this process: others do not know these classes."""
    [step] = inference._steps([asked], [actors])
    carried = dispatch.dispatch(step, [asked.without_rows()], [actors], board, [helpers])
    return inference._collect(asked, list(carried["answer"]))


class Cramped:
    """No more than two rows fit into its memory."""

    def __init__(self, board: Any) -> None:
        from raw2s.models import operations

        self.host, whole = ModelHost(board), operations.run

        def small(*words: Any, batch_size: int, **options: Any) -> pd.DataFrame:
            if batch_size > 2:
                raise MemoryError
            return whole(*words, batch_size=batch_size, **options)

        operations.run = small

    def answer(self, request: Request, number: int, block: pd.DataFrame) -> bytes:
        return self.host.answer(request, number, block)


class Doomed:
    """Every block ends its process."""

    def __init__(self, board: Any) -> None:
        self.host = ModelHost(board)
        self.host.load = lambda request: os._exit(1)

    def answer(self, request: Request, number: int, block: pd.DataFrame) -> bytes:
        return self.host.answer(request, number, block)


class Asleep:
    """On a node that does not answer."""

    def __init__(self, board: Any) -> None:
        pass

    def answer(self, request: Request, number: int, block: pd.DataFrame) -> bytes:
        time.sleep(600)
        return b""


def test_full_memory_halves_the_batch_and_is_reported(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    import ray

    asked, actor = request(folders[0], rows=9), actor_of(Cramped, board, ending)
    answer = answered(asked, [actor], board)
    found = np.stack(answer.rows["probabilities"])
    np.testing.assert_allclose(found, expected(folders[0], asked.rows), atol=1e-6)
    assert [actor["batch"] for actor in answer.actors] == [2]
    said = f"{asked.job.title}: memory was full with 4 rows at once; with 2 it goes on"
    assert ray.get(board.heard.remote()) == [said]
    assert ray.get(board.heard.remote()) == []


def test_rows_that_end_every_process_end_the_run(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    asked, actor = request(folders[0], rows=3), actor_of(Doomed, board, ending)
    with pytest.raises(RuntimeError, match="3 rows from r0 on have ended the process"):
        answered(asked, [actor], board)


@pytest.mark.parametrize("of_the_pool", [True, False])
def test_an_idle_actor_does_what_another_is_slow_with(
    of_the_pool: bool,
    folders: list[str],
    board: Any,
    ending: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "_SLOW_SECONDS", 0.5)
    asked = request(folders[0], rows=51 if of_the_pool else 16)
    slow, idle = actor_of(Asleep, board, ending), actor_of(ModelHost, board, ending)
    pool, helpers = ([slow, idle], []) if of_the_pool else ([slow], [idle])
    answer = answered(asked, pool, board, helpers)
    found = np.stack(answer.rows["probabilities"])
    np.testing.assert_allclose(found, expected(folders[0], asked.rows), atol=1e-6)
    assert [actor["actor"] for actor in answer.actors] == [idle._actor_id.hex()]


def test_actors_of_the_same_kind_help_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    helped: list[Any] = []
    monkeypatch.setattr(inference, "ask", lambda *_, helpers: helped.extend(helpers) or [])
    wave = [request("/a"), request("/b", actors=2), request("/c", cpus=0.5)]
    inference._ask_wave(wave, [["a"], ["b", "b2"], ["c"]], None)
    assert helped == [["a", "b", "b2"], ["a", "b", "b2"], ["c"]]


class Unkept:
    """A host whose storage takes nothing more."""

    def __init__(self, board: Any) -> None:
        self.host: Any = ModelHost(board)

    def answer(self, request: Request, number: int, block: pd.DataFrame) -> bytes:
        self.host.load(request)
        self.host._store.keep_piece = self.fail
        return self.host.answer(request, number, block)

    def fail(self, *_: Any) -> None:
        self.host._board.add.remote("tries", 1)
        raise PermissionError("not here")


def test_answers_that_cannot_be_kept_are_said_and_go_on(
    folders: list[str], board: Any, ending: ExitStack
) -> None:
    import ray

    asked, actor = replace(request(folders[0]), kept_as="kept"), actor_of(Unkept, board, ending)
    answer = answered(asked, [actor], board)
    assert list(answer.rows["id"]) == list(asked.rows["id"])
    [said] = ray.get(board.heard.remote())
    assert "answers could not be kept" in said and "PermissionError: not here" in said
    # Four blocks, one try.
    assert ray.get(board.snapshot.remote())["tries"] == (1, 0)


def test_answers_that_are_kept_are_not_asked_again(
    folders: list[str],
    board: Any,
    ending: ExitStack,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, plain = Store(tmp_path), request(folders[0])
    asked = replace(plain, storage=store.address(), kept_as="kept")
    hosts = Hosts(board)
    ending.callback(hosts.release)

    def ask() -> inference.Answer:
        answered = kept(asked.job, store, "kept", asked.key)
        [answer] = ask_at_once([replace(asked, answered=answered)], hosts, board)
        return answer

    whole, at = ask(), time.time()
    hosts.release()
    pieces = sorted((store.work(asked.job) / "kept").iterdir())
    # Blocks of 16 rows.
    assert len(pieces) == 4
    again = ask()
    assert encoded(again.rows) == encoded(whole.rows)
    assert again.actors == whole.actors
    assert not hosts._pools
    # One is lost, one is damaged: their rows are asked again, by an actor that is new.
    pieces[0].unlink()
    pieces[1].write_bytes(pieces[1].read_bytes()[:-1])
    again = ask()
    assert "1 blocks of answers are not what was written and are asked again" in caplog.text
    assert encoded(again.rows) == encoded(whole.rows)
    assert sorted(actor["first"] > at for actor in again.actors) == [False, True]
