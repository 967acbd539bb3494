"""The water: what stands between an application and its LLM provider, and reads the stream as it passes.

One call, one picture:

     client                                                                       upstream
       │ POST /openai/v1/chat/completions                                             ▲
       ▼                                                                              │
    ┌─ worker (data plane, proxy port) ───────────────────────────────────────────────┼─────┐
    │  gate ─► route ─► identity ─► headers ─► INTENT frame ─► upstream ──────────────┘     │
    │  may it   which     whose       what may    to the journal   raw bytes,               │
    │  enter?   upstream? call?       pass?       (one write)      chunk by chunk           │
    │                        ┌──────────── tee ────────────┐                                │
    │  client ◄─ 1. send ────┤  each chunk, in this order  ├◄─────── upstream               │
    │                        └─ 2. meter.feed(data, at) ───┘                                │
    │                              │  framing/: bytes → frames · wire/: frames → facts      │
    │                        meter.finish(outcome, at) ─► Reading  (estimate if usage is    │
    │                              │ OUTCOME frame                  missing, in a thread)   │
    └──────────────────────────────┼────────────────────────────────────────────────────────┘
                       journal/<boot>/*.seg: append-only, survives kill -9
    ┌──────────────────────────────┼────────────────────────────────────────────────────────┐
    │  recorder (control plane, admin port)                                                 │
    │     journals ─► price ─► CallRecord ─┬─► metrics.observe() ─► /metrics                │
    │                                      └─► ledger.insert(batch), idempotent ─► SQL      │
    │     admin app: /metrics /healthz /readyz, JSON API; `weir …` reads the same SQL       │
    └───────────────────────────────────────────────────────────────────────────────────────┘

`weir serve` is a small supervisor: it binds both ports, starts one recorder and N workers, starts again what dies, and
passes signals on. The event loop that carries a stream never touches SQL, prices, the metrics registry or a tokenizer.

The floors, held by tests/test_floors.py:

- `proxy` may import `store`; `store` never imports `proxy`. Nothing flows back.
- What a worker imports takes from `store` only `store.record` and `store.journal`.
- Pure rooms (gate, route, identity, headers, decide, meter, framing/, wire/, store.record): bytes, values and times in,
  values out. No socket, file, clock or logger; no third-party import but the JSON reader (and, in framing/inflate,
  decoders).
- Each library has one room: httptools in turns, listener and answer_head, Starlette in admin/, worker and simulator,
  uvicorn in turns, listener and where servers start, prometheus_client in metrics, tiktoken in tokens, genai_prices in
  pricing, Typer and Rich in cli/, SQLAlchemy in store/ and migrations/, Alembic in store/migrate and migrations/.
- No import cycles; no work at import.

There is no code in this file.
"""
