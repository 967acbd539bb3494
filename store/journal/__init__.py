"""The journal: append-only files in which a worker leaves what it carried, and from which the recorder makes rows.

Four sentences hold here, and tests bear their names:

1. One `write()` per frame: what `intent()` returned True for survives `kill -9` of the process that wrote it.
2. A frame is whole or it is not there: a torn or flipped frame is skipped and counted, and never hides a later one.
3. Every segment stands alone: it opens with its field names and the intents still open, so older ones may be deleted.
4. A record that could not be written is kept in memory, then counted: its number ends up in a GAP frame.

Layout: `ROOT/<boot_id>/000001.seg`, `ROOT/<boot_id>/lock` (held with flock while the writer lives). One writer, one
reader. `frames` is the layout of the bytes, `files` of the folders; `writer` and `reader` are the two sides.
"""

from __future__ import annotations

from store.journal.files import boots, total_bytes
from store.journal.frames import Entry, Gap, Kind, Position
from store.journal.reader import JournalReader
from store.journal.writer import JournalWriter

__all__ = ["Entry", "Gap", "JournalReader", "JournalWriter", "Kind", "Position", "boots", "total_bytes"]
