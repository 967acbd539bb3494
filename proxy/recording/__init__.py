"""How journals become rows and metrics: the recorder's rooms.

    follow.py    one journal followed: which frame is new, which was recorded, which calls are still open
    intake.py    the reading thread: all journals → price → metrics → queue
    pending.py   what was read and is not in the ledger yet, bounded
    deposit.py   the writing thread: queue → ledger, with back-off; refused records → dead letters
    bookmark.py  the last committed positions, for a start without a database
    series.py    counters and histograms as integers, without a metrics library
    table.py     the metrics: names, labels, buckets, caps
    parts.py     the token counts of a call cut into parts that do not overlap

Not here: prices (`proxy.pricing`), the metrics library (`proxy.metrics`), SQL (`store`), the process
(`proxy.recorder`).
"""

from __future__ import annotations
