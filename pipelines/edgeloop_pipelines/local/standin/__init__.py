"""A stand-in for KubeEdge on one machine: it reads the rendered manifests and does to node processes what they say.

It takes the place of the API server, of KubeEdge's controllers and router, and of the kubelet, and keeps to what was observed
of the real ones: Deployments per node group from EdgeApplications with their overriders, surge updates, exec probes, restarts
with back-off, pre-pull jobs, at-most-once rules. What runs in its pods is real: processes started from the layers of the
packaged images. Decisions are pure functions of values (`objects` to `status`); `engine` and what it drives touch the world.

It stands in and does not pretend. `LIMITS` is what it leaves out; it refuses rather than guesses what it does not know.
"""

from __future__ import annotations

__all__ = ["LIMITS"]

LIMITS = (
    "one machine, one user: no isolation, no resource limits, no security contexts, no init containers",
    "an image's Python is the machine's own, shut off from its site-packages; everything else comes from the image's layers",
    "nodes share one read-only copy of an unpacked image, by digest; each node pulls into a store of its own",
    "nodes share the loopback: each has an address of its own (127.0.1.x), and all share one MQTT broker",
    "every node is always ready: a node that goes away is not shown",
    "hold and release of upgrades is not supported; neither are targetNodeLabels, Services, ConfigMaps and Secrets",
    "plain Deployments and cloud workloads are not run",
    "a node that fits a group later is picked up at once; KubeEdge waits until the group is touched",
)
