"""The ledger room: what was carried, kept in SQL for good.

What the ledger promises, each with tests that bear its words:

1. *Every call exactly once*: a batch may be inserted again after any fault, and changes nothing the second time.
2. *One transaction*: rows, sums per session and hour, latency buckets, gaps and journal positions come together or
   not at all.
3. *Unknown is NULL*: sums count what is known and say beside it how many calls were not.
4. *Both databases answer alike*: SQLite and PostgreSQL keep the same text, the same numbers, the same views.
5. *A bad row stops nobody*: what a database refuses is set aside, counted and noted as a gap; the rest goes in.

`record` is the shared vocabulary and `journal` the hand-over from the workers; only those two may be imported where
bytes are carried. `schema` says what the tables look like, `ledger` writes them, `query` answers from them, `verify`
proves them, `migrate` brings an older database up to date. Nothing here imports `proxy`.
"""
