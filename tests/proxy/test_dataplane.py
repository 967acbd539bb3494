"""Deciding and recording: what is on disk when, how many calls at a time, and a journal that refuses."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from proxy import dataplane
from store.journal import JournalReader, JournalWriter, Kind, writer
from store.record import Call, Reading
from tests.plugins.plane import Hand, Plane, carrying, refused, until
from tests.plugins.rawhttp import Message, chunked, read_answer, request
from tests.plugins.tapes import Script, TapePlayer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def get(target: str = "/up/", key: bytes = b"a") -> bytes:
    return request("GET", target, [(b"Authorization", b"Bearer " + key)])


class Watched(JournalWriter):
    """A real journal that notes what was done to it, and that can refuse."""

    def __init__(self, root: Path, boot_id: str = "b" * 32) -> None:
        super().__init__(root, boot_id)
        self.done: list[str] = []
        self.sync_may_go_on = threading.Event()
        self.sync_may_go_on.set()
        self.refuse = ""
        self.broken = False

    def intent(self, call: Call) -> bool:
        self.done.append("intent")
        return super().intent(call)

    def sync(self) -> None:
        self.done.append("sync begins")
        assert self.sync_may_go_on.wait(5)
        if self.broken:
            raise OSError(errno.EIO, "the disk is broken")
        super().sync()
        self.done.append("synced")

    def _append(self, frame: bytes) -> bool:
        if self.refuse:
            self.refused = self.refuse
            return False
        return super()._append(frame)


def watching(tmp_path: Path, hand: Hand, **proxy: Any) -> tuple[Plane, Watched]:
    journal = Watched(tmp_path / "d" / "journal")
    plane = Plane(tmp_path / "d", {"up": {"base_url": hand.url, "estimate": "off"}}, journal=journal, **proxy)
    plane._reader = JournalReader(tmp_path / "d" / "journal" / ("b" * 32))
    return plane.start(), journal


# -- durability


def test_the_intent_is_written_before_anything_is_forwarded(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        assert [(e.kind, e.call.path) for e in plane.entries() if e.call] == [(Kind.INTENT, "/")]
        up.send(OK)
        answer = read_answer(client.reader, b"GET")
        plane.row(answer)
        assert [e.kind for e in plane.entries()] == [Kind.INTENT, Kind.OUTCOME]


def test_strict_forwards_only_what_is_on_disk(tmp_path: Path, hand: Hand) -> None:
    plane, journal = watching(tmp_path, hand, durability="strict")
    try:
        journal.sync_may_go_on.clear()
        with plane.connect() as client:
            client.send(get("/up/1"))
            until(lambda: "sync begins" in journal.done)
            assert hand.nobody_came(0.2)  # not even a connection is made
            assert journal.done == ["intent", "sync begins"]
            journal.sync_may_go_on.set()
            up = hand.accept()
            assert up.request().first_line == b"GET /1 HTTP/1.1"
            assert journal.done == ["intent", "sync begins", "synced"]
            up.send(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
    finally:
        plane.stop()


def test_strict_shares_one_sync_among_the_calls_that_wait(tmp_path: Path, hand: Hand) -> None:
    """Ten calls that come while a sync runs need one more, not ten."""
    plane, journal = watching(tmp_path, hand, durability="strict")
    try:
        journal.sync_may_go_on.clear()
        clients = [plane.connect() for _ in range(11)]
        clients[0].send(get(key=b"0"))
        until(lambda: journal.done.count("sync begins") == 1)
        for number, client in enumerate(clients[1:]):
            client.send(get(key=b"%d" % (number + 1)))
        until(lambda: journal.done.count("intent") == 11)
        journal.sync_may_go_on.set()
        for _ in clients:
            hand.asked(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))  # so that none is used twice
        assert [read_answer(client.reader, b"GET").body for client in clients] == [b"ok"] * 11
        assert journal.done.count("synced") == 2
        for client in clients:
            client.close()
    finally:
        plane.stop()


def test_standard_does_not_wait_for_the_disk(tmp_path: Path, hand: Hand) -> None:
    plane, journal = watching(tmp_path, hand)
    try:
        journal.sync_may_go_on.clear()
        with plane.connect() as client:
            client.send(get())
            hand.asked(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
        journal.sync_may_go_on.set()
    finally:
        plane.stop()


def test_strict_with_a_client_that_leaves_while_the_disk_is_slow(tmp_path: Path, hand: Hand) -> None:
    plane, journal = watching(tmp_path, hand, durability="strict")
    try:
        journal.sync_may_go_on.clear()
        client = plane.connect()
        client.send(get())
        until(lambda: "sync begins" in journal.done)
        client.close()
        until(lambda: not plane.active)
        journal.sync_may_go_on.set()
        assert hand.nobody_came(0.2)
        assert [r.outcome for _, r in plane.wait_for_rows(1)] == ["client_closed"]
    finally:
        plane.stop()
    assert plane.complaints.texts == []


@pytest.mark.parametrize("fault", ["the intent is refused", "the sync fails"])
def test_strict_refuses_what_cannot_be_brought_to_disk(tmp_path: Path, hand: Hand, fault: str) -> None:
    plane, journal = watching(tmp_path, hand, durability="strict")
    try:
        if fault == "the intent is refused":
            journal.refuse = "ENOSPC"
        else:
            journal.broken = True
        answer = plane.ask(get())
        refused(answer, 503, "journal_unavailable")
        assert hand.nobody_came()
        journal.refuse, journal.broken = "", False
        assert plane.row(answer)[1].http_status == 503
        with plane.connect() as client:  # and goes on once the disk does
            client.send(get())
            hand.asked(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
    finally:
        plane.stop()


# -- how many at a time


def test_max_streams_is_a_limit_that_says_when_to_come_back(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url}, max_streams=3) as plane:
        busy = [plane.connect() for _ in range(3)]
        for client in busy:
            client.send(get())
        ups = [hand.accept() for _ in busy]
        begun = time.monotonic()
        answer = plane.ask(get())
        assert time.monotonic() - begun < 1
        refused(answer, 503, "too_many_streams")
        assert answer.value("retry-after") == "1"
        call, reading = plane.row(answer)
        assert (call.upstream, reading.outcome, reading.http_status) == ("up", "rejected", 503)
        ups[0].request()
        ups[0].send(OK)
        read_answer(busy[0].reader, b"GET")
        with plane.connect() as client:  # a place is free again
            client.send(get())
            ups[0].request()
            ups[0].send(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
        for client in busy:
            client.close()


def test_health_answers_when_all_places_are_taken(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url}, max_streams=1) as plane, plane.connect() as busy:
        busy.send(get())
        until(lambda: plane.active)
        assert plane.ask(get("/health")).status == 200


# -- long calls


def test_a_long_stream_leaves_notes_of_how_far_it_has_come(
    plane: Plane, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataplane, "PROGRESS_SECONDS", 0.1)
    with plane.connect() as client:
        client.send(request("POST", "/up/v1/chat/completions", body=CHAT))
        up = hand.accept()
        up.request()
        up.send(HEAD)
        for _ in range(6):
            up.send(*chunked([b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'])[:-1])
            time.sleep(0.08)
        up.send(b"0\r\n\r\n")
        answer = read_answer(client.reader, b"POST")
        call, last = plane.row(answer)
        notes = [e.reading for e in plane.entries() if e.kind is Kind.PROGRESS and e.reading]
        assert len(notes) >= 2
        sizes = [note.response_bytes or 0 for note in notes]
        assert sizes == sorted(sizes)
        assert 0 < sizes[0] < (last.response_bytes or 0)
        assert {note.request_model for note in notes} == {"m"}
        assert {e.call.call_id for e in plane.entries() if e.call} == {call.call_id}


# -- a journal that refuses


def test_a_full_journal_does_not_touch_the_traffic_and_loses_nothing_that_fits_memory(
    tmp_path: Path, hand: Hand
) -> None:
    player = TapePlayer(Script([OK]))
    journal = Watched(tmp_path / "d" / "journal")
    plane = Plane(tmp_path / "d", {"up": player.url}, journal=journal)
    plane._reader = JournalReader(tmp_path / "d" / "journal" / ("b" * 32))
    plane.start()
    try:
        journal.refuse = "ENOSPC"
        answers = [plane.ask(get()) for _ in range(20)]
        assert [answer.body for answer in answers] == [b"ok"] * 20
        assert plane.outcomes() == []
        journal.refuse = ""
        rows = plane.wait_for_rows(20)
        assert {call.call_id for call, _ in rows} == {answer.value("x-weir-call-id") for answer in answers}
    finally:
        plane.stop()
        player.close()


def test_what_does_not_fit_memory_is_counted_by_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and gaps together are exactly the calls that were answered."""
    monkeypatch.setattr(writer, "MAX_BACKLOG", 3_000)
    player = TapePlayer(Script([OK]))
    journal = Watched(tmp_path / "d" / "journal")
    plane = Plane(tmp_path / "d", {"up": player.url}, journal=journal)
    plane._reader = JournalReader(tmp_path / "d" / "journal" / ("b" * 32))
    plane.start()
    try:
        first: Message = plane.ask(get())
        plane.row(first)
        journal.refuse = "ENOSPC"
        with plane.connect() as client:
            assert [client.ask(get()).body for _ in range(40)] == [b"ok"] * 40
        journal.refuse = ""
        until(lambda: not journal.waiting)
        gaps = [e.gap for e in plane.entries() if e.gap]
        lost = {seq for gap in gaps for seq in range(gap.seq_from, gap.seq_to + 1)}
        kept = {call.seq for call, _ in plane.outcomes()}
        assert {gap.reason for gap in gaps} == {"ENOSPC"}
        assert not lost & kept
        assert lost | kept == set(range(1, 42))
        assert len(lost) == journal.dropped > 0
    finally:
        plane.stop()
        player.close()


# -- who and what


def test_labels_are_consumed_and_recorded(plane: Plane, hand: Hand) -> None:
    headers = [
        (b"X-Weir-Session", b"s1"),
        (b"x-weir-project", b"p1"),
        (b"X-WEIR-USER", b"u1"),
        (b"x-weir-tag-team", b"search"),
        (b"Authorization", b"Bearer sk-secret"),
    ]
    with plane.connect() as client:
        client.send(request("GET", "/up/v1/models?key=sk-query", headers))
        up = hand.accept()
        asked = up.request()
        assert b"x-weir" not in asked.raw.lower()
        assert asked.value("authorization") == "Bearer sk-secret"
        up.send(OK)
        call, _ = plane.row(read_answer(client.reader, b"GET"))
    assert (call.session_id, call.session_source, call.project, call.user_id) == ("s1", "header", "p1", "u1")
    assert call.tags == {"team": "search"}
    assert call.key_id.startswith("k-")
    assert "sk-" not in repr(plane.entries())


def test_every_call_has_its_own_id_and_number(plane: Plane, hand: Hand) -> None:
    answers = [plane.ask(get("/nowhere/")) for _ in range(30)]
    ids = [answer.value("x-weir-call-id") for answer in answers]
    assert len(set(ids)) == 30
    assert ids == sorted(ids, key=str)
    assert [call.seq for call, _ in plane.wait_for_rows(30)] == list(range(1, 31))


def test_missing_usage_is_estimated_in_a_thread_after_the_answer(plane: Plane, hand: Hand) -> None:
    body = b'{"choices":[{"message":{"role":"assistant","content":"four words of text"}}]}'
    with plane.connect() as client:
        client.send(request("POST", "/up/v1/chat/completions", [(b"Content-Type", b"application/json")], CHAT))
        hand.asked(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        _, reading = plane.row(read_answer(client.reader, b"POST"))
    assert isinstance(reading, Reading)
    assert reading.usage_source == "estimated"
    assert (reading.input_tokens or 0) > 0
    assert (reading.output_tokens or 0) > 0


def test_a_large_request_is_read_in_a_thread_and_its_numbers_are_there(plane: Plane, hand: Hand) -> None:
    text = b"x" * 600_000
    body = b'{"model":"large","messages":[{"role":"user","content":"%b"}]}' % text
    with plane.connect() as client:
        client.send(request("POST", "/up/v1/chat/completions", [(b"Content-Type", b"application/json")], body))
        hand.asked(OK)
        _, reading = plane.row(read_answer(client.reader, b"POST"))
    assert reading.request_model == "large"
    assert reading.request_bytes == len(body)
    until(lambda: plane.on_loop(lambda: plane.plane._line.copy_room) == dataplane.MAX_COPIES)


def test_stopping_breaks_off_what_still_runs_and_says_so(tmp_path: Path, hand: Hand) -> None:
    plane = Plane(tmp_path / "d", {"up": hand.url}).start()
    with plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        up.send(HEAD + b"3\r\nabc\r\n")
        client.plug.recv(10)
        plane.stop()
        rows = [(r.outcome, r.error_type) for _, r in plane.outcomes()]
        assert rows == [("interrupted", "shutdown")]
        _, how = client.reader.until_end()
        assert how in ("cut", "reset")
