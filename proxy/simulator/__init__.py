"""A simulated provider: answers like OpenAI, Anthropic, Gemini, Ollama and others, without a model and without a key.

    python -m proxy.simulator --port 9900 [--seed 7]

Deterministic: the same seed and the same request give the same text, the same ids and the same token counts. Request
headers `x-sim-*` (or the same names inside the body's `metadata`) steer sizes, pace and faults; see `steering.py`.
`GET /__sim/ledger` lists what was answered, so that the books of a proxy in between can be checked against it.

    steering.py   what the caller asks of the simulator       story.py      the text and the counts
    api.py        what one provider API has to define         delivery.py   sending it: pace, codings, faults
    ledger.py     what was answered                           app.py        addresses -> APIs
    server.py     the uvicorn server                          the rest      one file per provider API

For demos and tests. No part of the proxy imports it.
"""
