"""The head of an upstream's answer, read by httptools (llhttp) from bytes that are known to be one whole head."""

from __future__ import annotations

import httptools

from proxy.headers import ANSWER_HOP, ANSWER_LENGTH, ANSWER_PLAIN, Headers, answer_kind


class AnswerHead:
    """The head of an answer: its own bytes and what they say. Callbacks have httptools' names; ValueError if broken."""

    __slots__ = ("chunked", "headers", "keep_alive", "length", "parser", "plain", "raw", "status", "until_close")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.headers: Headers = []
        self.status = 0
        self.keep_alive = False
        self.chunked = False
        self.until_close = False
        """Whether the body ends with the connection."""
        self.plain = True
        """Whether no header belongs to this hop alone."""
        self.length: int | None = None
        self.parser = httptools.HttpResponseParser(self)
        try:
            self.parser.feed_data(raw)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.status != 101:
                raise ValueError("answer head breaks the grammar") from error

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header, and what it says of the body's length and of the connection."""
        self.headers.append((name, value))
        kind = answer_kind(name)
        if kind == ANSWER_PLAIN:
            return
        if kind == ANSWER_LENGTH:
            self.length = int(value)
        elif kind == ANSWER_HOP:
            self.plain = False
        elif value.strip().lower() != b"chunked" or self.chunked:
            raise ValueError("transfer coding other than chunked")
        else:
            self.chunked = True

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.status = self.parser.get_status_code()
        self.keep_alive = self.parser.should_keep_alive()
