"""The real service over simulated ports, as a process of its own: `python server_process.py DATABASE_URL PORT [ACK_URL]`."""

import sys

from edgeloop_fleet.app import create_app, serve
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.testing import SimulatedAliases, SimulatedCluster, SimulatedTrigger, simulated_render

if __name__ == "__main__":
    url, port = sys.argv[1], int(sys.argv[2])
    settings = Settings(clock="reports", tick_s=0.2, ack_url=sys.argv[3] if len(sys.argv) > 3 else "")
    cluster = SimulatedCluster({"canary": ["n1"], "rest": ["n2", "n3"]})
    app = create_app(Store(url), settings, SimulatedTrigger(), cluster, SimulatedAliases(), simulated_render)
    serve(app, "127.0.0.1", port)
