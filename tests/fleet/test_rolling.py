"""Rollouts in the service, over simulated ports: forward, back, superseded, approved, refused."""

import base64
from dataclasses import replace

import pytest

from edgeloop_contracts import Signature
from edgeloop_contracts.signature import image_claim
from edgeloop_fleet import rollouts
from edgeloop_fleet.service import RefusedError

DAY_S, HOUR_S = 86_400, 3600
SERVED_S = 10 * DAY_S


def test_the_first_version_is_rolled_out_and_promoted(world, make):
    """Two waves settle, soak in event time and pass; the alias moves; every group runs the image; the timeline tells it."""
    world.serve()
    assert world.fleet.store.serving("demo") == 1
    assert world.aliases.promoted == [("demo", 1, world.aliases.promoted[0][2])]
    assert {world.cluster.image_of(g) for g in make.NODES} == {p.digest for p in make.packages(1).values()}
    assert world.kinds() == [
        "rollout",
        "rollout",
        "wave",
        "wave",
        "wave",
        "wave",
        "wave",
        "wave",
        "promoted",
        "verdict",
    ]


def _bad_canary(world, make):
    """Version 1 serves well; version 2 is surely worse on the canary, in the same windows."""
    world.serve()
    world.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    world.fleet.tick()
    world.heartbeat(2)
    world.fleet.tick()
    start = int(world.fleet.clock.now_s() // DAY_S + 1)
    settled = rollouts.current(world.fleet.store, "demo").rollout.waves[0].settled_s
    lucky = make.counts(4000, labelled=4000, correct=4000)  # before it settled: no evidence of this wave
    early = make.report("n1", int(settled) - HOUR_S, counts=lucky, version=2)
    world.fleet.take(make.delivery("n1", early, version=2))
    odd = make.counts(4000, labelled=4000, correct=800)  # the old version on the canary itself: not the rest
    world.fleet.take(make.delivery("n1", make.report("n1", start * DAY_S, counts=odd), version=2))
    mine = make.counts(400, labelled=400, correct=200)
    rest = make.counts(400, labelled=400, correct=380)
    world.fleet.take(make.delivery("n1", make.report("n1", start * DAY_S, counts=mine, version=2), version=2))
    world.fleet.take(make.delivery("n2", make.report("n2", start * DAY_S, counts=rest)))


def test_a_worse_version_is_rolled_back_and_the_old_one_serves(world, make):
    """The canary's labels against the rest's fail the wave; the group gets its old image; the alias does not move."""
    _bad_canary(world, make)
    world.fleet.tick()
    world.heartbeat(1)
    world.fleet.tick()
    last = world.fleet.store.serving("demo")
    assert last == 1
    assert world.cluster.image_of("canary") == make.package(1, "t-canary").digest
    assert "rolled_back" in world.kinds()
    assert any("surely worse" in text and "old version" in text for text in world.texts())
    assert [p[1] for p in world.aliases.promoted] == [1]


def test_the_second_wave_never_saw_the_bad_version(world, make):
    """Nothing but the canary group was ever told the bad version."""
    _bad_canary(world, make)
    world.fleet.tick()
    assert world.cluster.image_of("rest") == make.package(1, "t-rest").digest


def test_a_waiting_rollout_starts_from_what_serves_then(world, make):
    """A rollout made against a version that was rolled back goes back to the one that serves, not to that."""
    _bad_canary(world, make)
    world.fleet.put_rollout(make.rollout(3, previous=2), make.version(3), make.reference())
    world.fleet.tick()
    world.heartbeat(1)
    world.fleet.tick()
    world.fleet.tick()
    rollout = world.fleet.tick()["rollouts"][0]
    assert (rollout["version"], rollout["state"]) == (3, "running")

    assert rollouts.current(world.fleet.store, "demo").rollout.previous == 1


def test_a_first_version_that_cannot_start_is_taken_off(world, make):
    """A crash loop on the first rollout aborts it: the workload is deleted, nothing serves, no alias moves."""
    world.cluster.broken[make.package(1, "t-canary").digest] = "CrashLoopBackOff: exit 1"
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    world.settle(1, SERVED_S)
    assert rollouts.listed(world.fleet.store, "demo")[0].rollout.state == "aborted"
    assert world.cluster.objects == {}
    assert (world.fleet.store.serving("demo"), world.aliases.promoted) == (None, [])
    assert "aborted" in world.kinds()


def test_trouble_with_the_cluster_is_told_once_and_the_rollout_goes_on(world, make):
    """While the cluster is away nothing is saved; when it is back the rollout ends well."""
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    observe = world.cluster.observe

    def away(*_):
        raise OSError("no cluster here")

    world.cluster.observe = away
    for _ in range(3):
        world.fleet.tick()
    assert world.kinds().count("trouble/rollout") == 1
    world.cluster.observe = observe
    world.settle(1, SERVED_S)
    assert world.fleet.store.serving("demo") == 1
    assert world.texts().count("works again") == 1


def test_approval_by_hand(world, make):
    """With approval: manual nothing is applied until somebody approves."""
    loop = make.loop(rollout={"waves": [["canary"], ["rest"]], "soak": "1h", "approval": "manual"})
    world.fleet.put_loop(loop)
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    world.settle(1, SERVED_S)
    assert world.cluster.applied == 0
    world.fleet.approve("demo", 1)
    world.settle(1, SERVED_S + DAY_S)
    assert world.fleet.store.serving("demo") == 1
    with pytest.raises(RefusedError, match="expected the version of a rollout that waits"):
        world.fleet.approve("demo", 1)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"waves": ()}, "rollout.waves"),
        ({"packages": {}}, "rollout.packages"),
        ({"version": 2}, "version"),
        ({"loop": "other"}, "loop"),
    ],
)
def test_a_rollout_that_cannot_be_done_is_refused(world, make, change, path):
    """Waves that miss a group, a missing package, another version's reference, an unknown loop: refused, nothing stored."""
    with pytest.raises(RefusedError) as refused:
        world.fleet.put_rollout(replace(make.rollout(1), **change), make.version(1), make.reference())
    assert refused.value.problem.path == path
    assert world.fleet.store.references() == {}


def test_a_rollout_of_images_that_no_trusted_key_signed_is_refused(world, make, tmp_path):
    """New images and those to go back to; nothing is stored of what is refused, and what is signed is taken."""
    signing = pytest.importorskip("edgeloop_components.signing")
    private, public = signing.new_key(tmp_path / "a.key")
    signer = signing.read_signer(private)
    world.fleet.settings = replace(world.fleet.settings, trusted=signing.read_trusted(public))

    def signed(packages):
        return {
            target: replace(package, signatures=(_signed(package, signer),)) for target, package in packages.items()
        }

    given = make.rollout(2, previous=1)
    given = replace(given, previous_packages=make.rollout(1).packages)
    good = replace(given, packages=signed(given.packages), previous_packages=signed(given.previous_packages))
    for field in ("packages", "previous_packages"):
        target, package = next(iter(getattr(given, field).items()))
        other = {target: replace(package, digest="sha256:" + "9" * 64)}
        for packages, why in ((getattr(given, field), "it is not signed"), (signed(other), "another image")):
            wrong = {**getattr(good, field), target: replace(packages[target], digest=package.digest)}
            with pytest.raises(RefusedError, match="a trusted key has signed") as refused:
                world.fleet.put_rollout(replace(good, **{field: wrong}), make.version(2), make.reference())
            assert (refused.value.status, refused.value.problem.path) == (403, f"rollout.{field}.{target}")
            assert why in refused.value.problem.got
    assert world.fleet.store.references() == {}
    assert world.fleet.put_rollout(good, make.version(2), make.reference())[1]


def _signed(package, signer):
    payload = image_claim(package.digest, package.repository)
    encoded = (base64.b64encode(data).decode() for data in (payload, signer.sign(payload)))
    return Signature(**dict(zip(("payload", "signature"), encoded, strict=True)), key_id=signer.public.key_id)


def test_a_canary_that_nobody_asks_is_given_three_windows_and_goes_back(world, make):
    """A soak of 10 minutes in windows of an hour: no window could be the wave's own sooner, so it waits for three of them."""
    world.serve()
    world.fleet.put_rollout(make.rollout(2, previous=1, soak_s=600), make.version(2), make.reference())
    world.fleet.tick()
    world.heartbeat(2)
    world.fleet.tick()
    settled_s = rollouts.current(world.fleet.store, "demo").rollout.waves[0].settled_s
    for after_s, state in ((600, "running"), (3 * HOUR_S - 1, "running"), (3 * HOUR_S, "rolling_back")):
        world.fleet.clock.advance(settled_s + after_s)
        world.fleet.tick()
        assert rollouts.current(world.fleet.store, "demo").rollout.state == state
    assert any("no row was scored" in text for text in world.texts())
    assert world.fleet.store.serving("demo") == 1
