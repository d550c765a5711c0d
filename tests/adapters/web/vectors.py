"""Addresses that lead into the house, or that two programs read differently (row F9)."""

from __future__ import annotations

IPV4_HOUSE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254",
    "127.0.0.1", "127.1.2.3", "127.255.255.255", "169.254.0.1", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.8", "192.0.2.1", "192.168.0.1", "192.168.255.255",
    "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "100.100.100.200", "192.0.0.192",
]  # fmt: skip
IPV6_HOUSE = [
    "::", "::1", "::2", "100::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0",
    "febf::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "2001:10::1",
    "2001:20::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1", "64:ff9b:1::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001::200e"]


def hidden(address: str) -> list[str]:
    """An IPv4 address in every IPv6 form that may carry to it."""
    a, b, c, d = map(int, address.split("."))
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    flipped = f"{a ^ 255:02x}{b ^ 255:02x}:{c ^ 255:02x}{d ^ 255:02x}"
    return [
        f"::{high}:{low}",
        f"::ffff:{high}:{low}",
        f"::ffff:0:{high}:{low}",
        f"64:ff9b::{high}:{low}",
        f"64:ff9b:1::{high}:{low}",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}::1",
        f"2001:0:808:808:0:0:{flipped}",
        f"2606:4700::5efe:{high}:{low}",
        f"2606:4700::200:5efe:{high}:{low}",
    ]


HOSTS_OF_NUMBERS = [
    "127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1",
    "127.0.1", "0", "0.0", "1.1.1.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]",
    "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1.", "0x7f.1", "127.0.0.0x1", "3232235521", "a.0x7f",
    "１２７.0.0.1",
]  # fmt: skip
LOCAL_NAMES = [
    "localhost", "localhost.", "LOCALHOST", "foo.localhost", "router.local", "db.internal",
    "metadata.google.internal", "wiki.corp", "nas.home.arpa", "home.arpa", "printer.lan",
    "intranet",
    "redis", "kubernetes.default.svc.cluster.local", "x.test", "a.private", "ip6-localhost",
]  # fmt: skip
ODD_URLS = [
    "file:///etc/passwd", "gopher://example.org/", "data:text/html,x", "ftp://example.org/",
    "javascript:alert(1)", "//example.org/", "example.org", "http:/example.org", "http:example.org",
    "http://", "http:///x", "http://@example.org", "http://user@example.org/",
    "http://user:pw@example.org/", "http://example.org@127.0.0.1/", "http://127.0.0.1#@example.org/",
    "http://example.org\\@127.0.0.1/", "http:\\\\example.org", "http://example.org:22/",
    "http://example.org:6379/", "http://example.org:0/", "http://example.org:99999/",
    "http://example.org:80x/", "http://example.org:-1/", "http://exa mple.org/",
    "http://example.org\t/", "http://example.org\r\nHost: x/", "http://example.org/\x00",
    "http://example.org/\u202e", "http://-example.org/", "http://example-.org/",
    "http://example..org/", "http://.example.org/", "http://example.org.:80/",
    "http://" + "a" * 64 + ".org/", "http://" + "a." * 130 + "org/",
    "http://example.org/" + "x" * 2100,
    "http://exam_ple.org/", "http://%65xample.org/", "http://example.org%2f@x.org/",
    "http://[example.org]/", "http://example.org]/", "http://[::1/", "ws://example.org/",
    "https://example.org:443:80/", "http://xn--/", "http://ex\u00adample.org:8080/",
]  # fmt: skip
