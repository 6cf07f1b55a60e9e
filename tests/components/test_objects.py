"""The object store: one conformance suite for the simulator and the real server, and what only the real one can show."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeloop_components.stores.objects import NotFound, Objects, S3Objects, StoreError, StoreUnavailable, connect
from edgeloop_components.stores.ports import remove_sockets
from edgeloop_components.stores.seaweed import Running, SeaweedError, running_env, start


def race(act: Callable[[int], bool], count: int = 3) -> list[bool]:
    """What `count` threads got that did `act(i)` at the same time."""
    barrier, results = threading.Barrier(count), [False] * count

    def work(i: int) -> None:
        barrier.wait()
        results[i] = act(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_put_get_delete(store: Objects) -> None:
    """An object is read as written, replaced by a later put, gone after delete; deleting nothing is no error."""
    store.put("a/b", b"one")
    store.put("a/b", b"two")
    assert store.get("a/b") == b"two"
    store.delete("a/b")
    store.delete("a/b")
    with pytest.raises(NotFound, match="a/b"):
        store.get("a/b")


def test_not_found_is_a_key_error_with_a_readable_message(store: Objects) -> None:
    """Callers may catch KeyError; the text is not the quoted text that KeyError shows."""
    with pytest.raises(KeyError) as caught:
        store.get("no/such")
    assert "no/such" in str(caught.value)
    assert not str(caught.value).startswith(("'", '"'))


def test_put_new_writes_once(store: Objects) -> None:
    """put_new of a taken key changes nothing and says so; after a delete the key is free again."""
    assert store.put_new("k", b"1")
    assert not store.put_new("k", b"2")
    assert store.get("k") == b"1"
    store.delete("k")
    assert store.put_new("k", b"3")


def test_put_new_of_the_same_bytes_is_refused_too(store: Objects) -> None:
    """Equal content is no reason for True: a lock taken twice with the same bytes would be two locks."""
    assert store.put_new("k", b"1")
    assert not store.put_new("k", b"1")


def test_put_if_compares_and_sets(store: Objects) -> None:
    """put_if writes over the state that was read and over no other; not over nothing."""
    store.put("k", b"1")
    data, etag = store.get_with_etag("k")
    assert data == b"1"
    assert store.put_if("k", b"2", etag)
    assert not store.put_if("k", b"3", etag)
    assert store.get("k") == b"2"
    assert not store.put_if("none", b"1", etag)
    with pytest.raises(NotFound):
        store.get("none")


def test_of_racing_put_new_one_wins(store: Objects) -> None:
    """Of three threads that put the same new key, exactly one is told that it won, and its bytes are there."""
    for k in range(6):
        won = race(lambda i, k=k: store.put_new(f"race/{k}", b"%d" % i))  # type: ignore[misc]
        assert won.count(True) == 1
        assert store.get(f"race/{k}") == b"%d" % won.index(True)


def test_of_racing_put_if_one_wins(store: Objects) -> None:
    """Of three threads that replace the same state, exactly one wins, and nothing of the others remains."""
    store.put("k", b"start")
    for k in range(6):
        etag = store.get_with_etag("k")[1]
        won = race(lambda i, k=k, etag=etag: store.put_if("k", b"%d-%d" % (k, i), etag))  # type: ignore[misc]
        assert won.count(True) == 1
        assert store.get("k") == b"%d-%d" % (k, won.index(True))


def test_list_is_sorted_and_by_prefix(store: Objects) -> None:
    """list gives all keys of a prefix in byte order, a prefix that ends inside a name included."""
    keys = ["p/a/1", "p/a-b", "p/a/2", "p/b", "q"]
    for key in keys:
        store.put(key, b"")
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("p/")) == sorted(keys[:4])
    assert list(store.list("p/a")) == ["p/a-b", "p/a/1", "p/a/2"]
    assert list(store.list("p/a/")) == ["p/a/1", "p/a/2"]
    assert list(store.list("none/")) == []


def test_files(store: Objects, tmp_path: Path) -> None:
    """fput and fget move a file of several parts unchanged; a missing object leaves the old file as it was."""
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(os.urandom(11 << 20))
    store.fput(source, "big")
    store.fget("big", target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(NotFound):
        store.fget("none", target)
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a/", "./a"])
def test_bad_keys_are_refused(store: Objects, key: str) -> None:
    """A key that a file system would read otherwise is a ValueError everywhere, before anything is sent."""
    for act in (store.get, store.delete, lambda k: store.put(k, b""), lambda k: store.put_new(k, b"")):
        with pytest.raises(ValueError, match="expected a key"):
            act(key)


def test_more_than_a_page_of_keys(objects: S3Objects) -> None:
    """list goes on after the first 1000 keys of a server's answer."""
    for i in range(1005):
        objects.put(f"many/{i:05d}", b"")
    assert list(objects.list("many/")) == [f"many/{i:05d}" for i in range(1005)]


def test_truncated_upload_leaves_nothing(objects: S3Objects, seaweed: Running) -> None:
    """A connection that breaks in the middle of an upload leaves no object, and not half of one over an old one."""
    objects.put("old", b"whole")
    for key in ("new", "old"):
        url = urlsplit(objects._client.get_presigned_url("PUT", objects.bucket, key, expires=timedelta(minutes=5)))
        with socket.create_connection(("127.0.0.1", seaweed.port)) as connection:
            head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 100000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 50_000)
    time.sleep(0.3)
    assert list(objects.list("")) == ["old"]
    assert objects.get("old") == b"whole"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "check AWS_ACCESS_KEY_ID"),
    ],
)
def test_wrong_keys_are_refused(seaweed: Running, objects: S3Objects, change: dict[str, str], message: str) -> None:
    """Wrong credentials read and write nothing; the error names operation, key, endpoint, and the variable to check."""
    objects.put("k", b"1")
    other = connect(objects.bucket, environment={**seaweed.env(), **change})
    for act in (lambda: other.get("k"), lambda: other.put("k", b"2"), lambda: list(other.list(""))):
        with pytest.raises(StoreError, match=message) as caught:
            act()
        assert objects.bucket in str(caught.value)
        assert seaweed.endpoint in str(caught.value)
    assert objects.get("k") == b"1"


def test_anonymous_is_refused(seaweed: Running, objects: S3Objects) -> None:
    """Without credentials the server gives nothing away."""
    objects.put("k", b"1")
    with socket.create_connection(("127.0.0.1", seaweed.port)) as connection:
        connection.sendall(f"GET /{objects.bucket}/k HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        assert b" 403 " in connection.makefile("rb").readline()


def test_missing_bucket(seaweed: Running) -> None:
    """A bucket that does not exist is not "no such object": the error says to create it or to name another."""
    with pytest.raises(StoreError, match="EDGELOOP_BUCKET") as caught:
        seaweed.objects("no-such-bucket").get("k")
    assert not isinstance(caught.value, NotFound)


def test_connect_says_which_variable_is_missing(seaweed: Running) -> None:
    """connect names the variable that the environment lacks, and an endpoint that is no URL."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with pytest.raises(StoreError, match=name):
            connect(environment={k: v for k, v in seaweed.env().items() if k != name})
    with pytest.raises(StoreError, match=r"expected http\(s\)://host"):
        connect(environment={**seaweed.env(), "AWS_ENDPOINT_URL_S3": "127.0.0.1:9000"})


def test_nobody_answers() -> None:
    """When no server listens the error comes after the patience, and names the endpoint and the variable."""
    environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    objects = connect(environment=environment)
    objects.patience_s = 0.3
    with pytest.raises(StoreUnavailable, match=r"get edgeloop/k at http://127.0.0.1:9.*AWS_ENDPOINT_URL_S3"):
        objects.get("k")


@pytest.mark.slow
def test_data_survives_kill_and_clients_go_on(tmp_path: Path) -> None:
    """After SIGKILL and a start on the same folder all acknowledged data is there, at the same endpoint and keys;
    a client that writes while the server is away goes on by itself."""
    first = start(tmp_path / "store")
    objects = first.objects()
    objects.put("before", b"kept")
    big = os.urandom(6 << 20)
    objects.put("big", big)
    first.kill()
    writer = threading.Thread(target=objects.put_new, args=("meanwhile", b"done"))
    writer.start()
    second = start(tmp_path / "store")
    try:
        writer.join()
        assert second.env() == first.env()
        assert objects.get("before") == b"kept"
        assert objects.get("big") == big
        assert objects.get("meanwhile") == b"done"
        assert not objects.put_new("before", b"other")
    finally:
        second.stop()
    assert not second.alive


@pytest.mark.slow
def test_one_server_a_folder_and_no_process_left_behind(tmp_path: Path) -> None:
    """A second server on the folder is refused; when the process that started one is killed, the server dies too,
    its listening ports are free and the folder can be used again."""
    code = (
        "import sys, time; from pathlib import Path; from edgeloop_components.stores.seaweed import start\n"
        "r = start(Path(sys.argv[1])); print(r.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        with pytest.raises(SeaweedError, match="another SeaweedFS runs on this folder"):
            start(tmp_path)
        found = running_env(tmp_path)
        assert found is not None
        assert list(connect(environment=found).list("")) == [".edgeloop/ready"]
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while running_env(tmp_path) is not None:
        assert time.monotonic() < deadline, "the server outlived the process that started it"
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}/exe").exists()
    remove_sockets(json.loads((tmp_path / "ports.json").read_text()))  # the next start would do it


USER = """
import sys, time
from pathlib import Path
from edgeloop_components.stores.objects import connect
from edgeloop_components.stores.seaweed import shared
with shared(Path(sys.argv[1]), waits=lambda text: print("waits", text, flush=True)) as environment:
    connect(environment=environment).put(sys.argv[2], b"")
    print("in", flush=True)
    sys.stdin.readline()
    connect(environment=environment).put(sys.argv[2] + "-end", b"")
print("out", flush=True)
"""


def user(folder: Path, name: str) -> subprocess.Popen[str]:
    """A process that writes when it has come into the folder's store, and again before it leaves, at a line of input."""
    argv = [sys.executable, "-c", USER, str(folder), name]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_server_stays_as_long_as_it_is_used(tmp_path: Path, killed: bool) -> None:
    """Three that come at once to a new folder share one server; who started it waits for the others, one of which may be
    killed, says so, and only then stops it."""
    users = [user(tmp_path / "objects", f"u{i}") for i in range(3)]
    try:
        assert [said(process) for process in users] == ["in\n"] * 3
        (pid,) = servers(tmp_path)
        (owner,) = [p for p in users if p.pid == parent(pid)]
        others = [p for p in users if p is not owner]
        assert owner.stdin is not None
        owner.stdin.write("\n")
        owner.stdin.flush()
        assert said(owner).startswith("waits the object store of")
        if killed:
            others[0].kill()
        assert [p.communicate("\n")[0] for p in others[killed:]] == ["out\n"] * (2 - killed)
        others[0].wait(5)
        assert owner.communicate(timeout=10)[0] == "out\n"
        assert servers(tmp_path) == []
        assert running_env(tmp_path / "objects") is None
    finally:
        for process in users:
            process.kill()
            process.communicate()


def servers(folder: Path) -> list[int]:
    """The SeaweedFS processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text().split("\0")
            if words[0].endswith("weed") and any(str(folder) in word for word in words):
                found.append(int(path.parent.name))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_who_comes_while_the_server_starts_waits_and_writes_nothing(tmp_path: Path) -> None:
    """A folder that is locked and holds no server that answers yet: no credentials are made, the wait has an end."""
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SeaweedError, match=r"takes no write within 0\.3 s"):
            running_env(tmp_path, timeout_s=0.3)
        (tmp_path / "ports.json").write_text('{"s3": 9}')
        with pytest.raises(SeaweedError, match=r"takes no write within 0\.3 s"):
            running_env(tmp_path, timeout_s=0.3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "ports.json"]
    assert running_env(tmp_path) is None
    assert running_env(tmp_path / "no-such-folder") is None


def test_server_binds_loopback_only(seaweed: Running) -> None:
    """Every listening socket of the server is on 127.0.0.1."""
    inodes = set()
    for descriptor in Path(f"/proc/{seaweed.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            inodes.add(str(descriptor.readlink()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]
    assert len(own) == len(seaweed.ports)
    assert {address.split(":")[0] for address in own} == {"0100007F"}
    lines6 = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    assert not [line for line in lines6 if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]


def test_port_in_use_is_refused(tmp_path: Path) -> None:
    """A port that was asked for and is taken is an error, not another port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SeaweedError, match=f"port {taken.getsockname()[1]}"):
            start(tmp_path, port=taken.getsockname()[1])


def test_secrets_are_private(seaweed: Running) -> None:
    """The file with the keys is readable by its owner only, and every folder has keys of its own."""
    assert (seaweed.folder / "s3.json").stat().st_mode & 0o077 == 0
    assert len(seaweed.env()["AWS_SECRET_ACCESS_KEY"]) >= 30


def test_a_lost_answer_of_a_conditional_write(objects: S3Objects) -> None:
    """When the answer to a put_new is lost after the server wrote, the retry finds its own bytes and says True; when
    it finds another's, False."""
    lossy = losing_first_answer(objects)
    assert lossy.put_new("mine", b"1")
    objects.put("theirs", b"2")
    assert not losing_first_answer(objects).put_new("theirs", b"1")


def losing_first_answer(objects: S3Objects) -> S3Objects:
    """The same bucket through a client that loses the answer to its first write."""
    from urllib3.exceptions import ProtocolError

    copy = S3Objects(objects._client, objects.bucket, endpoint=objects.endpoint)
    real, lost = copy._put, []

    def losing(key: str, data: bytes, condition: dict[str, str]) -> bool:
        if lost:
            return real(key, data, condition)
        lost.append(key)
        try:
            real(key, data, condition)
        except Exception as error:  # the server's answer, whatever it was, never arrives
            raise ProtocolError("connection reset") from error
        raise ProtocolError("connection reset")

    copy._put = losing  # type: ignore[method-assign,assignment]
    return copy
