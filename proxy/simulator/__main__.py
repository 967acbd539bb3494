"""`python -m proxy.simulator --port P [--seed N]`: serve the simulated provider on loopback until a signal comes."""

from __future__ import annotations

import argparse
import contextlib
import sys

from proxy.simulator.server import bind, serve


def main() -> None:
    """Bind, say where, serve."""
    parser = argparse.ArgumentParser(prog="python -m proxy.simulator", description="A simulated LLM provider.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=9900, help="port to listen on; 0 takes a free one (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other answers (%(default)s)")
    given = parser.parse_args()
    try:
        plug = bind(given.host, given.port)
    except OSError as problem:
        parser.error(f"cannot listen on {given.host}:{given.port}: {problem.strerror}")
    # uvicorn hands on the Ctrl-C that ended it (SIGINT as an exception): here that is the wanted end, not a fault.
    with plug, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"simulator on http://{given.host}:{plug.getsockname()[1]}\n")
        sys.stdout.flush()
        serve(plug, seed=given.seed)


if __name__ == "__main__":
    main()
