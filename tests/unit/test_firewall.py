"""What the firewall of containers closes and opens, without a kernel."""

import errno
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from stepwell.errors import Invalid
from stepwell_runners import firewall, nftables, package_index
from stepwell_runners.egress import not_public
from stepwell_runners.firewall import PRIVATE, PUBLIC6, Opening, networks_of

PLACES = [
    "1.1.1.1", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "100.63.255.255", "100.64.0.1", "127.0.0.1",
    "168.63.129.16", "169.254.169.254", "172.15.255.255", "172.16.0.1", "172.31.255.255", "172.32.0.0", "192.0.0.1",
    "192.0.2.1", "192.167.255.255", "192.168.0.1", "192.169.0.0", "198.17.255.255", "198.18.0.1", "198.20.0.0",
    "198.51.100.7", "203.0.113.7", "203.0.114.0", "223.255.255.255", "224.0.0.1", "239.1.1.1", "255.255.255.255",
    "0.0.0.0", "::1", "::ffff:10.0.0.1", "fe80::1", "fd00::1", "fec0::1", "ff02::1", "64:ff9b::a00:1", "2001::1",
    "2001:db8::1", "2002:a00:1::", "2600::1", "2a00:1450::1", "3fff::1",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_isolates_may_not_reach_is_closed_for_containers_too(place: str) -> None:
    address = ip_address(place)
    closed = any(address in one for one in PRIVATE if one.version == address.version)
    closed |= address.version == 6 and address not in PUBLIC6
    assert closed or not_public(place) is None
    assert not closed or not_public(place) is not None or place == "3fff::1"  # older Pythons do not know it


def test_an_operator_names_networks() -> None:
    assert networks_of("") == ()
    assert networks_of("10.1.0.0/16, 192.168.5.7 fd00::/8") == tuple(
        Opening(ip_network(one)) for one in ("10.1.0.0/16", "192.168.5.7/32", "fd00::/8")
    )
    assert networks_of(" Any ") is None
    for wrong in ("intranet", "10.1.2.3/8", "10.1.0.0/16; 10.2.0.0/16"):
        with pytest.raises(Invalid, match=r"STEPWELL_CONTAINERS_REACH: .* Write addresses and networks like"):
            networks_of(wrong)


def test_name_servers_are_those_of_the_host_and_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resolv.conf").write_text(
        "# nameserver 10.9.9.9\nnameserver 127.0.0.53\nnameserver  10.0.0.2\nnameserver fe80::1%eth0\nnameserver x\n"
    )
    (tmp_path / "daemon.json").write_text('{"dns": ["10.0.0.3", "1.1.1.1", "10.0.0.2"]}')
    monkeypatch.setattr(firewall, "_RESOLVERS", (tmp_path / "resolv.conf", tmp_path / "missing"))
    monkeypatch.setattr(firewall, "_ENGINE", tmp_path / "daemon.json")
    assert firewall.name_servers() == ["10.0.0.2", "fe80::1", "10.0.0.3", "1.1.1.1"]
    opened = firewall.servers_of_this_host()
    assert [str(one.network) for one in opened] == ["10.0.0.2/32", "fe80::1/128", "10.0.0.3/32"]
    assert {one.port for one in opened} == {53}
    for broken in ("{", "[]", '{"dns": "10.0.0.4"}'):
        (tmp_path / "daemon.json").write_text(broken)
        assert firewall.name_servers() == ["10.0.0.2", "fe80::1"]


def test_only_indexes_and_proxies_that_are_not_public_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"index.example": "10.7.0.1", "public.example": "93.184.215.14", "proxy.example": "192.168.0.9"}

    def look_up(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if name not in names:
            raise OSError("unknown")
        return [(2, 1, 6, "", (names[name], port))]

    monkeypatch.setattr(package_index, "hosts", lambda: {"index.example:8443", "public.example:443", "gone.example:80"})
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in ("HTTP_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert set(firewall.hosts_of_this_host()) == {
        Opening(ip_network("10.7.0.1/32"), 8443),
        Opening(ip_network("192.168.0.9/32"), 3128),
    }


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EPERM, "only root with CAP_NET_ADMIN"), (errno.EOPNOTSUPP, "nf_tables")]
)
def test_a_host_that_takes_no_rules_says_why(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def replace(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(nftables, "replace", replace)
    assert words in (firewall.trial() or "")
    assert "elsewhere" in (firewall.out_of_reach("lo", local=False) or "")
    assert "another network namespace" in (firewall.out_of_reach("stepwell-no", local=True) or "")
    assert firewall.out_of_reach("lo", local=True) is None
