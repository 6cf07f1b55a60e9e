"""The kubelets of all nodes at the rim: pulls, processes, probes and signals, as the pods' lives ask for them.

`tick` never waits: it looks what has happened, lets `pods` decide, and does it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_pipelines.local.standin import containers, pods, processes, store
from edgeloop_pipelines.local.standin.objects import ManifestError, NodeView
from edgeloop_pipelines.local.standin.pods import Fact, Plan, Pod
from edgeloop_pipelines.local.standin.workloads import plan_of

__all__ = ["Kubelet"]


@dataclass
class _Hands:
    """What a pod has in the world."""

    plan: Plan
    pull: Future[int] | None = None
    process: processes.Running | None = None
    probe: processes.Running | None = None
    probe_until_s: float = 0.0
    unstartable: str = ""


class Kubelet:
    """Leads the pods it was given. `say` gets a line for what a person wants to know."""

    def __init__(
        self,
        folder: Path,
        images: store.ImageStore,
        *,
        say: Callable[[str], None],
        back_off_s: float,
    ) -> None:
        self._folder, self._images, self._back_off_s = folder, images, back_off_s
        self._say = say
        self._nodes: dict[str, NodeView] = {}
        self._hands: dict[str, _Hands] = {}
        self.pods: dict[str, Pod] = {}

    def add(self, pod: Pod, node: NodeView) -> None:
        self.pods[pod.name], self._nodes[node.name] = pod, node
        self._hands[pod.name] = _Hands(plan_of(pod, self._back_off_s))

    def stop(self, name: str) -> None:
        self.pods[name] = pods.asked_to_stop(self.pods[name])

    def node(self, name: str) -> NodeView:
        """The node of a pod that is there, also when the node's object has been removed."""
        return self._nodes[name]

    def pid(self, name: str) -> int:
        """The process of a pod; 0 when it has none."""
        process = self._hands[name].process
        return process.pid if process else 0

    def tick(self, now: float) -> None:
        """One look at every pod. `now` is monotonic."""
        for name in list(self.pods):
            hands = self._hands[name]
            for fact in self._facts(hands, now):
                self._note(self.pods[name], fact)
                self.pods[name] = pods.heard(self.pods[name], fact, hands.plan, now)
            self.pods[name], action = pods.due(self.pods[name], hands.plan, now)
            if action:
                self._do(action, name, now)
            if self.pods[name].state == "gone":
                self._forget(name)

    def close(self) -> None:
        """Ends every process: SIGTERM, the longest grace for all together, SIGKILL."""
        running = [hands.process for hands in self._hands.values() if hands.process]
        for process in running:
            process.signal(signal.SIGTERM)
        end = time.monotonic() + max((hands.plan.grace_s for hands in self._hands.values()), default=0)
        for process in running:
            process.wait(max(end - time.monotonic(), 0))
        probes = [hands.probe for hands in self._hands.values() if hands.probe]
        for process in (*running, *probes):
            process.signal(signal.SIGKILL)

    def _forget(self, name: str) -> None:
        hands = self._hands.pop(name)
        del self.pods[name]
        if hands.probe:
            hands.probe.signal(signal.SIGKILL)
        self._say(f"pod {name}: gone")

    def _facts(self, hands: _Hands, now: float) -> Iterator[Fact]:
        """What has happened since the last look. A probe's answer counts only while its process lives."""
        if hands.pull and hands.pull.done():
            _, why = store.outcome(hands.pull)
            yield pods.PullFailed(why) if why else pods.Pulled()
            hands.pull = None
        if hands.unstartable:
            hands.unstartable = ""
            yield pods.Exited(128)
        code = hands.process.exit_code() if hands.process else None
        if code is not None:
            if hands.probe:
                hands.probe.signal(signal.SIGKILL)
            hands.process = hands.probe = None
            yield pods.Exited(code)
        if hands.probe:
            yield from self._probed(hands, hands.probe, now)

    def _probed(self, hands: _Hands, probe: processes.Running, now: float) -> Iterator[Fact]:
        code = probe.exit_code()
        if code is None and now < hands.probe_until_s:
            return
        if code is None:
            probe.signal(signal.SIGKILL)
            probe.wait(1)
        hands.probe = None
        yield pods.Probed(code == 0, "the probe took too long" if code is None else probe.message())

    def _note(self, pod: Pod, fact: Fact) -> None:
        if isinstance(fact, pods.PullFailed):
            self._say(f"pod {pod.name}: ImagePullBackOff: {fact.why}")
        elif isinstance(fact, pods.Exited) and not pod.deleting:
            self._say(f"pod {pod.name}: the server ended with exit code {fact.code} (log: {self._log(pod)})")
        elif isinstance(fact, pods.Probed) and fact.ok and not pod.ready and pod.started:
            self._say(f"pod {pod.name}: ready on {pod.node}")

    def _do(self, action: pods.Action, name: str, now: float) -> None:
        acts: dict[str, Callable[[Pod, _Hands, float], None]] = {
            "pull": self._pull,
            "start": self._start,
            "probe-startup": self._probe,
            "probe-readiness": self._probe,
            "terminate": lambda _pod, hands, _now: self._signal(hands, signal.SIGTERM),
            "kill": lambda _pod, hands, _now: self._signal(hands, signal.SIGKILL),
        }
        acts[action](self.pods[name], self._hands[name], now)

    @staticmethod
    def _signal(hands: _Hands, number: signal.Signals) -> None:
        if hands.process:
            hands.process.signal(number)

    def _pull(self, pod: Pod, hands: _Hands, _now: float) -> None:
        hands.pull = self._images.pull(pod.node, _container(pod)["image"])

    def _start(self, pod: Pod, hands: _Hands, _now: float) -> None:
        """A command that cannot be executed counts as a container that ended with exit code 128, as the kubelet has it."""
        try:
            self._images.check(pod.node, _container(pod)["image"])
            command = self._command(pod)
            hands.process = processes.start(command, self._log(pod), self._place(pod).rootfs)
            self._say(f"pod {pod.name}: started on {pod.node} (process {hands.process.pid})")
        except (OSError, ManifestError, store.PullError) as error:
            hands.unstartable = str(error)
            self._say(f"pod {pod.name}: cannot start: {error}")

    def _probe(self, pod: Pod, hands: _Hands, now: float) -> None:
        """A probe that cannot be executed has failed."""
        probe = hands.plan.readiness if pod.started else hands.plan.startup
        assert probe is not None
        container, place = _container(pod), self._place(pod)
        words = containers.with_main_process(probe.command, self.pid(pod.name))
        hands.probe_until_s = now + probe.timeout_s
        try:
            config = self._images.config(pod.node, container["image"])
            command = containers.probe_command(
                words, container, containers.volumes_of(pod.template["spec"]), config, place
            )
            hands.probe = processes.start_probe(command, self._log(pod).with_suffix(".probe"), place.rootfs)
        except (OSError, ManifestError, store.PullError) as error:
            self.pods[pod.name] = pods.heard(pod, pods.Probed(False, str(error)), hands.plan, now)

    def _command(self, pod: Pod) -> containers.Command:
        container, place = _container(pod), self._place(pod)
        volumes = containers.volumes_of(pod.template["spec"])
        for path in volumes.values():
            containers.node_folder(place, path).mkdir(parents=True, exist_ok=True)
        config = self._images.config(pod.node, container["image"])
        return containers.command_of(container, volumes, config, place)

    def _place(self, pod: Pod) -> containers.Place:
        return containers.Place(
            pod=pod.name,
            namespace=pod.owner.namespace,
            uid=pod.uid,
            node=self._nodes[pod.node],
            disk=self._folder / "nodes" / pod.node,
            rootfs=self._images.rootfs(_container(pod)["image"]),
            cache=self._folder / "pycache",
        )

    def _log(self, pod: Pod) -> Path:
        return self._folder / "nodes" / pod.node / "logs" / f"{pod.name}.log"


def _container(pod: Pod) -> Any:
    return pod.template["spec"]["containers"][0]
