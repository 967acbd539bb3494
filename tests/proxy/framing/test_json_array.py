"""A JSON array whose objects come piecemeal."""

from __future__ import annotations

from proxy.framing.json_array import JsonArray

ARRAY = b'[{"a":"]}\\","}\n,\r\n{"b":[1,{}]}]'


def test_objects_come_out_wherever_the_array_is_cut() -> None:
    for cut in range(len(ARRAY) + 1):
        framer = JsonArray()
        frames = [*framer.feed(ARRAY[:cut]), *framer.feed(ARRAY[cut:]), *framer.close()]
        assert frames == [b'{"a":"]}\\","}', b'{"b":[1,{}]}']


def test_the_first_object_does_not_wait_for_the_second() -> None:
    assert list(JsonArray().feed(b'[{"a":1}')) == [b'{"a":1}']
