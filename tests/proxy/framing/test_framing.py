"""The framings that hold nothing."""

from __future__ import annotations

from proxy.framing import BareText, Marked, Opaque


def test_opaque_reads_nothing() -> None:
    opaque = Opaque()
    assert (list(opaque.feed(b"data: x\n\n")), list(opaque.close()), opaque.streamed) == ([], [], False)
    assert Opaque(streamed=True).streamed


def test_bare_text_is_all_content() -> None:
    text = BareText()
    assert (list(text.feed(b"Hi")), list(text.close()), text.streamed) == ([Marked("text", b"Hi")], [], True)
