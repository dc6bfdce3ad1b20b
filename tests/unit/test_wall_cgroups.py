"""Where cgroups can be made, on copies of the files a kernel shows."""

from pathlib import Path

import pytest

from stepwell_runners.cgroups import Cgroup, Cgroups


def _process(directory: Path, text: str) -> Path:
    (directory / "process").mkdir()
    (directory / "process" / "cgroup").write_text(text)
    return directory / "process"


def test_version_1_uses_the_own_cgroup_of_both_controllers(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "own").mkdir(parents=True)
    found = Cgroups.find(tmp_path, _process(tmp_path, "8:pids:/own\n4:memory:/own\n0::/\n"))
    assert found.version == 1
    assert found.parents == {"memory": tmp_path / "memory/own", "pids": tmp_path / "pids/own"}
    group = found.make(7, 1 << 30, 64)
    assert group is not None
    assert (group.memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (group.pids / "pids.max").read_text() == "64"


def test_version_2_climbs_to_the_nearest_cgroup_that_delegates_both(tmp_path: Path) -> None:
    leaf = tmp_path / "system.slice" / "stepwell.service"
    leaf.mkdir(parents=True)
    (leaf / "cgroup.subtree_control").write_text("")
    (leaf.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    found = Cgroups.find(tmp_path, _process(tmp_path, "0::/system.slice/stepwell.service\n"))
    assert found.version == 2
    assert set(found.parents.values()) == {leaf.parent}
    group = found.make(1, 1 << 20, 5)
    assert group is not None
    assert group.memory == group.pids
    assert (group.memory / "memory.max").read_text() == str(1 << 20)


def test_without_delegation_the_problem_is_named_and_no_cgroup_is_made(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("")
    found = Cgroups.find(tmp_path, _process(tmp_path, "0::/\n"))
    assert found.version == 0
    assert "not delegated" in found.problem
    assert found.make(1, 1, 1) is None


def test_out_of_memory_is_read_from_either_version(tmp_path: Path) -> None:
    group = Cgroup(tmp_path, tmp_path, 1)
    assert not group.out_of_memory()
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
    assert not group.out_of_memory()
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    assert group.out_of_memory()
    (tmp_path / "memory.events").unlink()
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert group.out_of_memory()


def test_processors_are_divided_where_cpu_is_handed_on_too(tmp_path: Path) -> None:
    for controller in ("memory", "pids", "cpu"):
        (tmp_path / "one" / controller / "own").mkdir(parents=True)
    (tmp_path / "one/cpu/own/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "one" / "process").mkdir()
    (tmp_path / "one/process/cgroup").write_text("8:pids:/own\n4:memory:/own\n3:cpu,cpuacct:/own\n")
    group = Cgroups.find(tmp_path / "one", tmp_path / "one/process").make(7, 1 << 30, 64)
    assert group is not None
    assert group.cpu is not None
    assert group.cpu not in (group.memory, group.pids)
    group.bound(1 << 30, 64, 1.5)
    assert (group.cpu / "cpu.cfs_quota_us").read_text() == "150000"
    group.weigh(4)
    assert (group.cpu / "cpu.shares").read_text() == "256"

    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (tmp_path / "two" / "cgroup").write_text("0::/\n")
    group = Cgroups.find(tmp_path / "two", tmp_path / "two").make(7, 1 << 30, 64)
    assert group is not None
    assert group.cpu == group.memory
    group.bound(1 << 30, 64, 0.5)
    assert (group.memory / "cpu.max").read_text() == "50000 100000"
    group.weigh(4)
    assert (group.memory / "cpu.weight").read_text() == "25"
    group.weigh(1 << 20)
    assert (group.memory / "cpu.weight").read_text() == "1"


def test_refused_processes_are_read_where_the_kernel_counts_them(tmp_path: Path) -> None:
    group = Cgroup(tmp_path, tmp_path, 1)
    assert not group.out_of_processes()
    (tmp_path / "pids.events").write_text("max 0\n")
    assert not group.out_of_processes()
    (tmp_path / "pids.events").write_text("max 12\n")
    assert group.out_of_processes()


def test_what_a_dead_server_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "own").mkdir(parents=True)
    process = _process(tmp_path, "8:pids:/own\n4:memory:/own\n")
    first = Cgroups.find(tmp_path, process)
    dead, alive = tmp_path / "memory/own/stepwell-4194305-0/i1", tmp_path / "memory/own/stepwell-1-0"
    dead.mkdir(parents=True)
    alive.mkdir()
    second = Cgroups.find(tmp_path, process)
    assert not dead.parent.exists()
    assert alive.exists()
    assert first.make(1, 1, 1) is not None
    assert second.make(1, 1, 1) is not None


def test_two_servers_may_sweep_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "own" / "stepwell-999999999-a" / "i1").mkdir(parents=True)
        (tmp_path / controller / "own" / "stepwell-999999999-a" / "i2").mkdir()
    rmdir = Path.rmdir

    def beaten(path: Path) -> None:
        if path.name == "i1":
            rmdir(path)  # by the other server
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", beaten)
    Cgroups.find(tmp_path, _process(tmp_path, "8:pids:/own\n4:memory:/own\n"))
    assert not list(tmp_path.glob("*/own/stepwell-999999999-a"))
