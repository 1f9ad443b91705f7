#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What recording costs, in one boot of a guest that counts instructions: runs there as root, in the directory of loop and
# empty.ko. Prints "WORKLOAD WHAT INSTRUCTIONS" and "size TOOL ROUNDS BYTES"; has_lttng tells whether LTTng is to be measured.
has_lttng=$1
ltt=/sys/kernel/relay/ltt
ftrace=/sys/kernel/tracing
calls=20000
rounds=3000

# The smaller of two: what else the kernel did meanwhile is not of interest.
measure() {
	first=$(./loop "$1" "$3")
	second=$(./loop "$1" "$3")
	echo "$1 $2 $first $second"
}

# session NAME EVENTS [FILTER]: a flight recorder, as nobody reads
session() {
	mkdir "$ltt/$1" && echo 1048576 >"$ltt/$1/subbuf_size" && echo flight >"$ltt/$1/mode" || exit 1
	echo "none $2" >"$ltt/$1/events"
	echo "$3" >"$ltt/$1/filter"
	echo start >"$ltt/$1/control"
}
end() {
	for name; do
		echo stop >"$ltt/$name/control"
		rmdir "$ltt/$name"
	done
}

# workload LOOP ROUNDS TRACEPOINTS OURS FTRACE-EVENTS LTTNG-ARGUMENTS
workload() {
	measure "$1" nothing "$2"
	insmod ./empty.ko "tracepoints=$3" && measure "$1" empty "$2"
	rmmod empty
	session one "$4"
	measure "$1" ours "$2"
	session two "$4"
	measure "$1" ours-two "$2"
	end one two
	session one "$4" "tid=1"
	measure "$1" ours-filter-out "$2"
	end one
	session one "$4" "comm=loop"
	measure "$1" ours-filter-in "$2"
	end one
	for event in $5; do echo 1 >"$ftrace/events/$event/enable"; done
	measure "$1" ftrace "$2"
	echo 0 >"$ftrace/events/enable"
	[ "$has_lttng" = yes ] || return 0
	lttng -q create cost --snapshot >/dev/null
	# shellcheck disable=SC2086
	lttng -q enable-event --kernel $6 && lttng -q start && measure "$1" lttng "$2"
	lttng -q destroy cost >/dev/null
}

# sizes ROUNDS: bytes on disk of sched_switch and sched_waking
sizes() {
	mkdir "$ltt/size" && echo "none +sched_switch +sched_waking" >"$ltt/size/events" || exit 1
	cat "$ltt/size/events_0" >"ours-$1" &
	echo start >"$ltt/size/control"
	./loop pipe "$1" >/dev/null
	echo stop >"$ltt/size/control"
	wait $!
	rmdir "$ltt/size"
	echo "size ours $1 $(wc -c <"ours-$1")"
	trace-cmd record -q --compression none -e sched:sched_switch -e sched:sched_waking -o "trace-cmd-$1" \
		./loop pipe "$1" >/dev/null 2>trace-cmd.err && echo "size trace-cmd $1 $(wc -c <"trace-cmd-$1")"
	[ "$has_lttng" = yes ] || return 0
	lttng -q create size -o "$PWD/lttng-$1" >/dev/null
	lttng -q enable-event --kernel sched_switch,sched_waking
	lttng -q start
	./loop pipe "$1" >/dev/null
	lttng -q stop
	lttng -q destroy size >/dev/null
	echo "size lttng $1 $(cat "lttng-$1"/kernel/channel0_* | wc -c)"
}

echo 1 >"$ftrace/tracing_on"
if [ "$has_lttng" = yes ]; then
	mount -o bind modules "/lib/modules/$(uname -r)" || has_lttng=no
	export HOME=/tmp LTTNG_HOME=/tmp
	lttng-sessiond --daemonize --kmod-probes=sched >sessiond.log 2>&1 || has_lttng=no
	lttng -q list --kernel >/dev/null 2>&1 || { echo "lttng unusable"; has_lttng=no; }
fi
workload getppid $calls sys_enter,sys_exit "+sys_enter +sys_exit" "raw_syscalls/sys_enter raw_syscalls/sys_exit" \
	"--syscall --all"
workload pipe $rounds sched_switch "+sched_switch" "sched/sched_switch" "sched_switch"
sizes 1000
sizes 5000
