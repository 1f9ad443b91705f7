# SPDX-License-Identifier: GPL-2.0-or-later
"""Network: packets through devices and out of memory, sockets, TCP."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import blob, cstring, enum, field, i32, u16, u32
from ltt_relay.formats.ltt3_events.common import TID, address, tracepoint

__all__ = ("EVENTS", "TCP_STATES")

TCP_STATES: Final = {
    name: number + 1
    for number, name in enumerate((
        "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
        "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
    ))
}  # fmt: skip
FAMILIES: Final = {"unspec": 0, "unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17}

_SKB = address("skbaddr", "which packet")
_SOCK = address("skaddr", "which socket")
_NAME = field("name", cstring(), "the network device")
_PACKET = (_SKB, field("len", u32, "its length", unit="B"), field("protocol", u16, "its EtherType", hint="hex"), _NAME)
_STATE = enum(u32, TCP_STATES)
_FAMILY = field("family", enum(u16, FAMILIES), "address family")
_ENDS = (
    field("sport", u16, "port here"),
    field("dport", u16, "port there"),
    _FAMILY,
    field("protocol", u16, "protocol number of IP: 6 TCP, 17 UDP"),
    field("saddr", u32, "IPv4 address here: 0x7f000001 is 127.0.0.1", hint="hex"),
    field("daddr", u32, "IPv4 address there", hint="hex"),
    field("saddr_v6", blob(16), "IPv6 address here; all 0 if there is none"),
    field("daddr_v6", blob(16), "IPv6 address there; all 0 if there is none"),
)
_TCP = (_SOCK, field("state", _STATE, "the socket's state"), *_ENDS)
_LENGTH = (
    _SOCK, TID, field("ret", i32, "bytes, or -errno"),
    field("flags", u32, "of the call: MSG_ bits", hint="hex"), _FAMILY, field("protocol", u16, "its protocol"),
)  # fmt: skip

EVENTS: Final = (
    tracepoint(140, "net:net_dev_queue", "network", "a packet goes to a device's queue", *_PACKET),
    tracepoint(
        141, "net:net_dev_xmit", "network", "a packet was given to a device",
        _SKB, field("len", u32, "its length", unit="B"), field("rc", i32, "0 if the device took it"), _NAME,
    ),
    tracepoint(142, "net:netif_receive_skb", "network", "a packet came from a device", *_PACKET),
    tracepoint(143, "net:netif_rx", "network", "a packet came from a device of software", *_PACKET),
    tracepoint(
        144, "net:napi_poll", "network", "a device was asked for packets",
        address("napi", "which of its queues"),
        field("work", i32, "packets there were"), field("budget", i32, "packets there might have been"),
        field("dev_name", cstring(), "the network device"),
    ),
    tracepoint(
        145, "net:kfree_skb", "network", "a packet is dropped",
        _SKB, address("location", "where"), field("reason", u32, "why: this kernel's number, 0 where it tells none"),
        field("protocol", u16, "its EtherType", hint="hex"),
    ),
    tracepoint(146, "net:consume_skb", "network", "a packet has served", _SKB),
    tracepoint(147, "net:skb_copy_datagram_iovec", "network", "a packet is copied to a reader", _SKB,
               field("len", i32, "bytes", unit="B")),
    tracepoint(
        148, "net:inet_sock_set_state", "socket", "a socket's connection goes from one state to another",
        _SOCK, field("oldstate", _STATE, "from"), field("newstate", _STATE, "to"), *_ENDS,
    ),
    tracepoint(149, "net:sock_send_length", "socket", "something was sent through a socket", *_LENGTH),
    tracepoint(150, "net:sock_recv_length", "socket", "something was received from a socket", *_LENGTH),
    tracepoint(151, "net:tcp_retransmit_skb", "network", "TCP sends a packet once more", *_TCP),
    tracepoint(152, "net:tcp_receive_reset", "network", "TCP's other end resets the connection", *_TCP),
    tracepoint(153, "net:tcp_destroy_sock", "socket", "TCP gives up a socket", *_TCP),
)  # fmt: skip
