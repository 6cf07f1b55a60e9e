"""A package fits a target or not, with the reasons, and the nearest fit is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Capabilities, Needs, Target
from edgeloop_contracts.codec import fields_of
from edgeloop_contracts.fit import INSTRUCTION_SETS, closest, explain, lending, misfit, nearest
from edgeloop_contracts.loop import NodeSelector

X86 = INSTRUCTION_SETS[0]


def target(name: str = "t", platform: str = "linux/amd64", **has: object) -> Target:
    selector = NodeSelector(group="g")
    return Target(name=name, nodes=selector, platform=platform, has=Capabilities(**has))  # type: ignore[arg-type]


NEEDS = Needs(platform="linux/amd64", instruction_set="x86-64-v3", memory_mib=10, disk_mib=20)


@pytest.mark.parametrize(
    ("has", "reasons"),
    [
        (target(instruction_set="x86-64-v3", memory_mib=10.0, disk_mib=20.0), ()),
        (target(instruction_set="x86-64-v4"), ()),
        (target(instruction_set="x86-64-v2"), ("instruction set: needs x86-64-v3, has x86-64-v2",)),
        (target(), ("instruction set: needs x86-64-v3, has the baseline",)),
        (target(instruction_set="armv8.4-a"), ("instruction set: needs x86-64-v3, has armv8.4-a",)),
        (
            target(platform="linux/arm64", instruction_set="x86-64-v3", memory_mib=9.5, disk_mib=1.0),
            (
                "platform: needs linux/amd64, has linux/arm64",
                "memory: needs 10 MiB, has 9.5 MiB",
                "disk: needs 20 MiB, has 1 MiB",
            ),
        ),
    ],
)
def test_reasons(has: Target, reasons: tuple[str, ...]) -> None:
    """Each need that is not met is a reason with both sides; what is not known is none."""
    assert misfit(NEEDS, has) == reasons


def test_accelerator_and_driver_must_be_named() -> None:
    """A target that says nothing has no accelerator."""
    needs = Needs(accelerator="ice40-up5k", driver="edgeloop-spi 1")
    assert misfit(needs, target()) == (
        "accelerator: needs ice40-up5k, has none",
        "driver: needs edgeloop-spi 1, has none",
    )
    assert misfit(needs, target(accelerator="ice40-up5k", driver="edgeloop-spi 1")) == ()


def test_a_runtime_beside_the_image_must_be_lent() -> None:
    """An image without Python runs where the nodes lend one, of that very version; a base is the way out."""
    needs = Needs(runtime="python3.11")
    for has, said in (((), "none"), (("python3.12", "java21"), "python3.12, java21")):
        (reason,) = misfit(needs, target(runtimes=has))
        assert reason == f"runtime: needs python3.11 beside the image, has {said}: pack it on a base that holds one"
    assert misfit(needs, target(runtimes=("java21", "python3.11"))) == ()
    assert misfit(needs, lending(target(runtimes=("java21",)), ["python3.11"])) == ()
    assert lending(target(runtimes=("java21",)), ["python3.11", "java21"]).has.runtimes == ("java21", "python3.11")
    assert misfit(Needs(), target(runtimes=("python3.11",))) == ()


ALL_SEVEN: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "platform": ({"platform": "linux/arm64"}, {}),
    "runtime": ({"runtime": "python3.11"}, {"runtimes": ("python3.11",)}),
    "instruction set": ({"instruction_set": "x86-64-v4"}, {"instruction_set": "x86-64-v4"}),
    "accelerator": ({"accelerator": "ice40-up5k"}, {"accelerator": "ice40-up5k"}),
    "driver": ({"driver": "ftdi"}, {"driver": "ftdi"}),
    "memory": ({"memory_mib": 64.0}, {"memory_mib": 64.0}),
    "disk": ({"disk_mib": 64.0}, {"disk_mib": 64.0}),
}


@pytest.mark.parametrize("what", ALL_SEVEN)
def test_each_need_is_compared_by_itself(what: str) -> None:
    """Lacking one of the seven is the one reason against a target, and the other target, which has it, is named as nearest."""
    needed, given = ALL_SEVEN[what]
    needs = Needs(**needed)  # type: ignore[arg-type]
    platform = "linux/arm64" if what == "platform" else "linux/amd64"
    lacks, has = target("lacks", memory_mib=1.0, disk_mib=1.0), target("has", platform, **given)
    (reason,) = misfit(needs, lacks)
    assert reason.startswith(f"{what}: needs ")
    assert explain(needs, lacks, [lacks, has]).endswith("; nearest: target has (fits)")
    assert {f.attribute for f in fields_of(Needs)} == {name for row in ALL_SEVEN.values() for name in row[0]}


def test_the_nearest_fit_is_named() -> None:
    """A refusal says which other target would take the package, or comes closest."""
    small, right = target("small", memory_mib=1.0), target("right", instruction_set="x86-64-v3")
    found = nearest(NEEDS, [small, right])
    assert found is not None
    assert (found.target, found.reasons) == ("right", ())
    assert nearest(NEEDS, []) is None
    assert explain(NEEDS, small, [small, right]) == (
        "target small does not fit its package: instruction set: needs x86-64-v3, has the baseline; "
        "memory: needs 10 MiB, has 1 MiB; nearest: target right (fits)"
    )
    assert explain(NEEDS, right, [small]) == ""
    best = closest(small, {"big": NEEDS, "tiny": Needs(platform="linux/amd64")})
    assert best is not None
    assert best.target == "tiny"


numbers = st.floats(0, 1e6)
all_needs = st.builds(
    Needs,
    platform=st.sampled_from(["", "linux/amd64", "linux/arm64"]),
    instruction_set=st.sampled_from(["", *X86]),
    accelerator=st.sampled_from(["", "a"]),
    runtime=st.sampled_from(["", "python3.11"]),
    memory_mib=numbers,
    disk_mib=numbers,
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(all_needs, st.floats(0, 1e6), st.sampled_from(X86))
def test_more_is_never_worse(needs: Needs, memory_mib: float, instruction_set: str) -> None:
    """A node with more memory or a later instruction set of the family fits whatever one with less did."""
    less = target(memory_mib=memory_mib, instruction_set=instruction_set)
    more = target(memory_mib=memory_mib + 1, instruction_set=X86[-1], runtimes=("python3.11",))
    kinds = [{reason.split(":")[0] for reason in misfit(needs, has)} for has in (more, less)]
    assert kinds[0] <= kinds[1]
    assert misfit(Needs(), less) == ()
    assert (
        misfit(replace(needs, platform=""), target(accelerator="a", instruction_set=X86[-1], runtimes=("python3.11",)))
        == ()
    )
