// SPDX-License-Identifier: GPL-2.0-only
/* Events of the network: groups net, napi, skb, sock, tcp. */
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/inet_sock.h>
#include <net/sock.h>
#include <net/tcp.h>

#include <trace/events/napi.h>
#include <trace/events/net.h>
#include <trace/events/skb.h>
#include <trace/events/sock.h>
#include <trace/events/tcp.h>

#include "probes.h"

/* ---------------------------------------------------------------------------------------------------- packets --- */

/* A packet that goes through a device: the same three events. */
#define LTT_PACKET(NAME, ev)										\
static void probe_##ev(void *data, struct sk_buff *skb)							\
{													\
	size_t len = strnlen(skb->dev->name, IFNAMSIZ);							\
	struct relayfs_slot slot;									\
	struct ltt3_##ev *p = ltt_begin(&slot, data, NAME, NULL, len + 1);				\
													\
	if (!p)												\
		return;											\
	p->skbaddr = (unsigned long)skb;								\
	p->len = skb->len;										\
	p->protocol = ntohs(skb->protocol);								\
	ltt_put_text(p->name, skb->dev->name, len);							\
	ltt_end(&slot, data);										\
}													\
LTT_OFFER(ev, ev, probe_##ev)

LTT_PACKET(NET_DEV_QUEUE, net_dev_queue)
LTT_PACKET(NETIF_RECEIVE_SKB, netif_receive_skb)
LTT_PACKET(NETIF_RX, netif_rx)

static void probe_xmit(void *data, struct sk_buff *skb, int rc, struct net_device *dev, unsigned int skb_len)
{
	size_t len = strnlen(dev->name, IFNAMSIZ);
	struct relayfs_slot slot;
	struct ltt3_net_dev_xmit *p = ltt_begin(&slot, data, NET_DEV_XMIT, NULL, len + 1);

	if (!p)
		return;
	p->skbaddr = (unsigned long)skb;
	p->len = skb_len;
	p->rc = rc;
	ltt_put_text(p->name, dev->name, len);
	ltt_end(&slot, data);
}
LTT_OFFER(net_dev_xmit, net_dev_xmit, probe_xmit)

static void probe_napi(void *data, struct napi_struct *napi, int work, int budget)
{
	const char *name = napi->dev ? napi->dev->name : "(no_device)";
	size_t len = strnlen(name, IFNAMSIZ);
	struct relayfs_slot slot;
	struct ltt3_napi_poll *p = ltt_begin(&slot, data, NAPI_POLL, NULL, len + 1);

	if (!p)
		return;
	p->napi = (unsigned long)napi;
	p->work = work;
	p->budget = budget;
	ltt_put_text(p->dev_name, name, len);
	ltt_end(&slot, data);
}
LTT_OFFER(napi_poll, napi_poll, probe_napi)

static __always_inline void fill_kfree(struct ltt3_kfree_skb *p, const struct sk_buff *skb, void *location, u32 reason)
{
	p->skbaddr = (unsigned long)skb;
	p->location = (unsigned long)location;
	p->reason = reason;
	p->protocol = ntohs(skb->protocol);
}

LTT_PROBE_FUNC(KFREE_SKB, kfree_skb, probe_kfree, NULL, TP_PROTO(struct sk_buff *skb, void *location),
	       TP_ARGS(skb, location))
{
	fill_kfree(p, skb, location, 0);
}

/* A reason came in 5.17, the receiving socket in 6.11, and was made const later. */
#ifdef HAVE_DROPREASON
LTT_PROBE_FUNC(KFREE_SKB, kfree_skb, probe_kfree_reason, NULL,
	       TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason),
	       TP_ARGS(skb, location, reason))
{
	fill_kfree(p, skb, location, reason);
}

static void __maybe_unused probe_kfree_rx(void *data, struct sk_buff *skb, void *location, enum skb_drop_reason reason,
					  struct sock *rx_sk)
{
	probe_kfree_reason(data, skb, location, reason);
}

static void __maybe_unused probe_kfree_const(void *data, struct sk_buff *skb, void *location,
					     enum skb_drop_reason reason, const struct sock *rx_sk)
{
	probe_kfree_reason(data, skb, location, reason);
}

LTT_OFFER(kfree_skb, kfree_skb, probe_kfree, probe_kfree_reason, probe_kfree_rx, probe_kfree_const)
#else
LTT_OFFER(kfree_skb, kfree_skb, probe_kfree)
#endif

LTT_PROBE_FUNC(CONSUME_SKB, consume_skb, probe_consume, NULL, TP_PROTO(struct sk_buff *skb), TP_ARGS(skb))
{
	p->skbaddr = (unsigned long)skb;
}

static void __maybe_unused probe_consume_at(void *data, struct sk_buff *skb, void *location)
{
	probe_consume(data, skb);
}
LTT_OFFER(consume_skb, consume_skb, probe_consume, probe_consume_at)

LTT_PROBE(SKB_COPY_DATAGRAM_IOVEC, skb_copy_datagram_iovec, NULL, TP_PROTO(const struct sk_buff *skb, int len),
	  TP_ARGS(skb, len))
{
	p->skbaddr = (unsigned long)skb;
	p->len = len;
}

/* ---------------------------------------------------------------------------------------------------- sockets --- */

#if IS_ENABLED(CONFIG_IPV6)
static __always_inline void fill_v6(const struct sock *sk, u8 *here, u8 *there)
{
	memcpy(here, &sk->sk_v6_rcv_saddr, 16);
	memcpy(there, &sk->sk_v6_daddr, 16);
}
#else
static __always_inline void fill_v6(const struct sock *sk, u8 *here, u8 *there)
{
	memset(here, 0, 16);
	memset(there, 0, 16);
}
#endif

/* The ends of a connection of IP. */
#define FILL_ENDS(p, sk)										\
do {													\
	const struct inet_sock *inet__ = inet_sk(sk);							\
													\
	(p)->skaddr = (unsigned long)(sk);								\
	(p)->sport = ntohs(inet__->inet_sport);								\
	(p)->dport = ntohs(inet__->inet_dport);								\
	(p)->family = (sk)->sk_family;									\
	(p)->protocol = (sk)->sk_protocol;								\
	(p)->saddr = ntohl(inet__->inet_saddr);								\
	(p)->daddr = ntohl(inet__->inet_daddr);								\
	if ((sk)->sk_family == AF_INET6) {								\
		fill_v6(sk, (p)->saddr_v6, (p)->daddr_v6);						\
	} else {											\
		memset((p)->saddr_v6, 0, 16);								\
		memset((p)->daddr_v6, 0, 16);								\
	}												\
} while (0)

LTT_PROBE(INET_SOCK_SET_STATE, inet_sock_set_state, NULL,
	  TP_PROTO(const struct sock *sk, const int oldstate, const int newstate), TP_ARGS(sk, oldstate, newstate))
{
	FILL_ENDS(p, sk);
	p->oldstate = oldstate;
	p->newstate = newstate;
}

#define LTT_LENGTH(NAME, name)										\
LTT_PROBE(NAME, name, NULL, TP_PROTO(struct sock *sk, int ret, int flags), TP_ARGS(sk, ret, flags))	\
{													\
	p->skaddr = (unsigned long)sk;									\
	p->tid = current->pid;										\
	p->ret = ret;											\
	p->flags = flags;										\
	p->family = sk->sk_family;									\
	p->protocol = sk->sk_protocol;									\
}

LTT_LENGTH(SOCK_SEND_LENGTH, sock_send_length)
LTT_LENGTH(SOCK_RECV_LENGTH, sock_recv_length)

LTT_PROBE_FUNC(TCP_RETRANSMIT_SKB, tcp_retransmit_skb, probe_retransmit, NULL,
	       TP_PROTO(const struct sock *sk, const struct sk_buff *skb), TP_ARGS(sk, skb))
{
	FILL_ENDS(p, sk);
	p->state = sk->sk_state;
}

/* An error is told since 6.17. */
static void __maybe_unused probe_retransmit_err(void *data, const struct sock *sk, const struct sk_buff *skb, int err)
{
	probe_retransmit(data, sk, skb);
}
LTT_OFFER(tcp_retransmit_skb, tcp_retransmit_skb, probe_retransmit, probe_retransmit_err)

LTT_PROBE(TCP_RECEIVE_RESET, tcp_receive_reset, NULL, TP_PROTO(struct sock *sk), TP_ARGS(sk))
{
	FILL_ENDS(p, sk);
	p->state = sk->sk_state;
}

LTT_PROBE(TCP_DESTROY_SOCK, tcp_destroy_sock, NULL, TP_PROTO(struct sock *sk), TP_ARGS(sk))
{
	FILL_ENDS(p, sk);
	p->state = sk->sk_state;
}
