"""A kill -9 of the service in the middle of ingest loses nothing and counts nothing twice."""

import random
import threading
import time

import httpx
import pytest

from edgeloop_contracts import Acknowledgement, dumps, from_json


class _Agent(threading.Thread):
    """Sends states of its windows, again and again, out of order, until each newest one is acknowledged."""

    def __init__(self, base, make, node, seed):
        super().__init__(daemon=True)
        self.base, self.make, self.node, self.rng = base, make, node, random.Random(seed)
        self.failed = self.sent = 0

    def states(self):
        """30 windows in 4 states each; a later state counts more."""
        return [(window, sequence) for window in range(30) for sequence in range(1, 5)]

    def expected(self):
        return (30 * 8, 30 * 4, 30 * 3)

    def report(self, window, sequence):
        counts = self.make.counts(2 * sequence, labelled=sequence, correct=sequence - 1)
        return self.make.report(self.node, window * 3600, sequence, counts)

    def run(self):
        waiting = self.states() * 2
        self.rng.shuffle(waiting)
        with httpx.Client(base_url=self.base, timeout=10) as client:
            while waiting:
                batch = [waiting.pop() for _ in range(min(5, len(waiting)))]
                delivery = self.make.delivery(self.node, *(self.report(*state) for state in batch))
                if not self._acknowledged(client, delivery, batch):
                    waiting = [*batch, *waiting]
                    time.sleep(0.02)

    def _acknowledged(self, client, delivery, batch):
        self.sent += 1
        try:
            answer = client.post("/v1/reports", content=dumps(delivery))
        except httpx.TransportError:
            self.failed += 1
            return False
        acknowledged = from_json(Acknowledgement, answer.json()).reports
        got = {(a.window_start_s // 3600, a.sequence) for a in acknowledged}
        return answer.status_code == 200 and set(batch) <= got


@pytest.mark.slow
def test_kill_9_during_ingest_loses_nothing_and_counts_nothing_twice(tmp_path, make, process):
    """Three agents send shuffled, doubled states while the service is killed four times: the sums are exact."""
    url, port = f"sqlite:///{tmp_path}/fleet.db", process.free_port()
    base, running = f"http://127.0.0.1:{port}", process.start(url, port)
    with httpx.Client(base_url=base) as client:
        process.introduce(client, make)
    agents = [_Agent(base, make, node, seed) for seed, node in enumerate(("n1", "n2", "n3"))]
    for agent in agents:
        agent.start()
    kills = 0
    while any(agent.is_alive() for agent in agents) and kills < 4:
        time.sleep(0.12)
        running.kill()
        running.wait()
        running, kills = process.start(url, port), kills + 1
    for agent in agents:
        agent.join(60)
        assert not agent.is_alive(), "the agent is still not acknowledged"
    with httpx.Client(base_url=base) as client:
        totals = process.totals(client)
    process.stop(running)
    assert sum(agent.failed for agent in agents) > 0, "no kill hit a delivery: the test shows nothing"
    assert totals == {(1, agent.node): agent.expected() for agent in agents}
