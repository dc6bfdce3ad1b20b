"""Small pure parts around the wall: ids, orders, statuses, advice, package indexes."""

import errno
import json
from pathlib import Path

import pytest

from stepwell.errors import Invalid, Unavailable
from stepwell_runners import house, package_index, probe
from stepwell_runners.command import order_of, read_report, without_wall
from stepwell_runners.isolate import describe_status
from stepwell_runners.link import Refused
from stepwell_runners.spec import CommandSpec, Directory, Overlay, ToolDir
from stepwell_runners.uids import TenantIndexes


def test_tenants_keep_their_index_over_restarts(tmp_path: Path) -> None:
    first = TenantIndexes(tmp_path / "uids.json")
    assert [first("a"), first("b"), first("a")] == [0, 1, 0]
    again = TenantIndexes(tmp_path / "uids.json")
    assert [again("b"), again("c")] == [1, 2]


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "{}",
        "null",
        "[" * 100_000,
        '{"status": "0", "seconds": 1, "collected": {}}',
        '{"status": -1, "seconds": 1, "collected": {}}',
        '{"status": true, "seconds": 1, "collected": {}}',
        '{"status": 0, "seconds": NaN, "collected": {}}',
        '{"status": 0, "seconds": [], "collected": {}}',
        '{"status": 0, "seconds": 1, "collected": ["a"]}',
        '{"status": 0, "seconds": 1, "collected": {"a": "%"}}',
        '{"status": 0, "seconds": 1, "collected": {"a": 7}}',
    ],
)
def test_report_that_is_none_is_not_believed(forged: str) -> None:
    assert read_report(forged.encode() + b"\n") is None


def test_report_is_read_when_it_is_complete() -> None:
    line = b'{"status": 256, "seconds": 1.5, "collected": {"/a": "eA=="}}\n'
    assert read_report(line) == {"status": 256, "seconds": 1.5, "collected": {"/a": b"x"}, "tmp_full": False}
    assert read_report(line[:-1]) is None


def test_ids_outside_the_house_are_refused() -> None:
    assert house.host_id(0) == house.BASE + house.FIRST_TENANT
    with pytest.raises(ValueError, match="outside"):
        house.host_id(house.SIZE)


@pytest.mark.parametrize(
    "spec",
    [
        CommandSpec("t", ()),
        CommandSpec("t", ("a\0b",)),
        CommandSpec("t", ("a",), env={"A=B": "c"}),
        CommandSpec("t", ("a",), files={"../x": b""}),
        CommandSpec("t", ("a",), files={"": b""}),
    ],
)
def test_what_cannot_be_passed_to_a_program_is_refused(spec: CommandSpec) -> None:
    with pytest.raises(Invalid):
        order_of(spec, {})


def test_order_puts_the_commands_variables_over_the_base() -> None:
    order = json.loads(order_of(CommandSpec("t", ("a",), env={"PATH": "/x"}), {"PATH": "/y", "HOME": "/tmp"}))
    assert order["env"] == {"PATH": "/x", "HOME": "/tmp"}


def test_without_the_wall_places_are_the_hosts_own(tmp_path: Path) -> None:
    spec = CommandSpec(
        "t",
        ("/tools/k/bin/ruff", "/workspace/a"),
        env={"PATH": "/tools/k/bin:/bin", "KEY": "/run/files/key"},
        workspace=Directory(tmp_path / "ws"),
        tools=(ToolDir(tmp_path / "k", "k"),),
    )
    here, private = without_wall(spec)
    assert here.argv == (f"{tmp_path}/k/bin/ruff", f"{tmp_path}/ws/a")
    assert here.env == {"PATH": f"{tmp_path}/k/bin:/bin", "KEY": f"{private}/key"}
    assert here.cwd == f"{tmp_path}/ws"
    Path(private).rmdir()


def test_without_the_wall_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="plain directory"):
        without_wall(CommandSpec("t", ("a",), workspace=Overlay((tmp_path,), tmp_path, tmp_path)))


def test_wait_status_in_words() -> None:
    assert describe_status(3 << 8, 0.0).reason == "exit code 3"
    assert describe_status(9, 0.0).reason == "killed by SIGKILL"
    assert describe_status(9, 0.0).signal == 9


def test_advice_names_what_to_change() -> None:
    off = Refused({"step": "house", "errno": errno.ENOSPC, "text": "unshare"})
    assert "max_user_namespaces" in probe.remedy(off)
    assert "Delegate=yes" in probe.delegation(contained=False)
    assert "--volume /sys/fs/cgroup" in probe.delegation(contained=True)


def test_hosts_of_package_indexes_come_from_variables_and_files(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nextra-index-url =\n    http://mirror.test/simple\n    file:///opt/x\n[install]\nindex-url=https://a.test:8443/s\n"
    )
    found = package_index.hosts({"PIP_INDEX_URL": "https://user:pw@b.test/simple"}, [file])
    public = package_index.hosts({}, [])
    assert found - public == {"mirror.test:80", "a.test:8443", "b.test:443"}
    assert len(public) == 2  # pip's own index and where its files are
