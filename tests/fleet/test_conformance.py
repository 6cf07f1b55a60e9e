"""The simulators keep the laws of the ports."""

import pytest

from edgeloop_fleet.clocks import ReportClock, WallClock
from edgeloop_fleet.conformance import aliases_laws, clock_laws, cluster_laws, trigger_laws
from edgeloop_fleet.testing import SimulatedAliases, SimulatedClock, SimulatedCluster, SimulatedTrigger


def test_the_simulated_trigger():
    """One start a key, one active run a loop, refusals that say why."""
    trigger_laws(SimulatedTrigger(), "demo")


def test_the_simulated_aliases():
    """The last promotion holds, twice is once."""
    aliases = SimulatedAliases()
    aliases_laws(aliases, "demo", lambda: aliases.promoted[-1][1] if aliases.promoted else None)
    assert len(aliases.promoted) == 2


def test_the_simulated_cluster():
    """Applying and deleting are idempotent."""

    def objects(digests):
        return [{"kind": "EdgeApplication", "metadata": {"name": "demo"}, "digests": dict(digests)}]

    cluster_laws(SimulatedCluster({"g": ["n1"]}), "demo", objects, "g")


@pytest.mark.parametrize(
    "clock", [WallClock(), ReportClock(5.0), SimulatedClock(5.0)], ids=["wall", "reports", "simulated"]
)
def test_clocks_do_not_go_back(clock):
    """Neither by themselves nor when told an earlier time."""
    clock_laws(clock)
    now_s = clock.now_s()
    if not isinstance(clock, WallClock):
        clock.advance(now_s - 1)
        assert clock.now_s() == now_s
        clock.advance(now_s + 1)
        assert clock.now_s() == now_s + 1


def test_a_law_that_is_broken_is_named():
    """A trigger that starts the same key twice fails the suite."""

    class Twice(SimulatedTrigger):
        def fire(self, request):
            self.fired, self.running = [], []
            return super().fire(request)

    with pytest.raises(AssertionError, match="the same key starts nothing twice"):
        trigger_laws(Twice(), "demo")
