"""The admin port: metrics, health and the JSON API, for people and machines that run weir.

    app.py          the routes, the token, and errors in weir's form
    exposition.py   /metrics, rendered beside the event loop and shared between scrapes
    api.py          /api/…: what `store.query` answers, as JSON

Not here: measuring and recording (`proxy.recording`), and anything that applications talk to (the proxy port).
"""

from __future__ import annotations
