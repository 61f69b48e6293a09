"""``ostinato server``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ostinato.io.blobs import safe_url
from ostinato.server.serving import HOST, PORT, Serving
from ostinato.settings import load_settings

OnHost = Annotated[str, Parameter(name="--host", help="The address to listen on; 127.0.0.1 by default.")]
OnPort = Annotated[int, Parameter(name="--port", help="The port, 4600 by default; 0 for any that is free.")]


def server(*, host: OnHost = HOST, port: OnPort = PORT) -> int:
    """Run a server on the database that the settings name, until Ctrl-C.

    On an address that others reach it needs a user first: ostinato users create NAME --role admin
    """
    settings = load_settings()

    serving = Serving(settings, host=host, port=port)

    def ready(url: str) -> None:
        where = url if serving.bound == url else f"{serving.bound} (here: {url})"
        print(f"Server on {where}, database {safe_url(settings.database_url)}. Ctrl-C ends it.", flush=True)

    serving.run(ready)
    print("The server has ended in order.", flush=True)
    return 0
