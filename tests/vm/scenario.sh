#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What the kernel half must do, in one boot: runs in the guest as root; $1 is where results go, $2 Python, $3 the project.
out=$1
python=$2
export PYTHONPATH=$3
. "$3/tests/vm/common.sh"
ltt=/sys/kernel/relay/ltt
relay() { "$python" -m ltt_relay.cli "$@"; }
work() {
	ls -lR /usr/share/doc 2>/dev/null | head -n "${1:-1500}" | sort | tail -n 1 >/dev/null
	for i in 1 2 3 4 5; do /bin/true; done
}
all="+sched +irq +syscall +exceptions +task"

# session NAME [SUBBUF_SIZE N_SUBBUFS [MODE]]: made and configured, not started
session() {
	mkdir "$ltt/$1" && echo "$all" >"$ltt/$1/events" || exit 1
	[ -z "$2" ] || echo "$2" >"$ltt/$1/subbuf_size"
	[ -z "$3" ] || echo "$3" >"$ltt/$1/n_subbufs"
	[ -z "$4" ] || echo "$4" >"$ltt/$1/mode"
}
# names NAME DIRECTORY: what is not packets
names() {
	cp "$ltt/$1/metadata" "$ltt/$1/state_0" "$2/"
	cp "$ltt/$1/stats" "$2/.stats"
}

echo "== a capture with a shell alone, ftrace beside it"
mkdir "$out/shell"
session shell
echo start >"$ltt/shell/control"
for cpu in 0 1; do cat "$ltt/shell/events_$cpu" >"$out/shell/events_$cpu" & done
await holds "$ltt/shell/events_0" || exit 1
timeout 5 cat "$ltt/shell/events_0" 2>"$out/second-reader" >/dev/null &&
	echo "a second reader was let in" >>"$out/second-reader"
cd /sys/kernel/tracing || exit 1
echo 0 >tracing_on
echo mono >trace_clock
echo 8192 >buffer_size_kb
for event in sched/sched_switch sched/sched_wakeup irq/irq_handler_entry irq/softirq_entry \
	raw_syscalls/sys_enter raw_syscalls/sys_exit exceptions/page_fault_user; do
	echo 1 >"events/$event/enable"
done
echo 1 >tracing_on
work 300
echo 0 >tracing_on
cd /
echo "hello from a shell" >"$ltt/shell/marker"
echo stop >"$ltt/shell/control"
wait
names shell "$out/shell"
cp /sys/kernel/tracing/trace "$out/ftrace.txt"
echo 0 >/sys/kernel/tracing/events/enable
rmdir "$ltt/shell"

echo "== made to lose: tiny buffers, nobody reads until the end"
mkdir "$out/losing"
session losing 4096 2
echo start >"$ltt/losing/control"
work
echo stop >"$ltt/losing/control"
cp "$ltt/losing/stats" "$out/losing/.stats-before"
for cpu in 0 1; do cat "$ltt/losing/events_$cpu" >"$out/losing/events_$cpu"; done
names losing "$out/losing"
rmdir "$ltt/losing"

echo "== every way to read"
for tool in cp cat bcp bcat dd head python; do session "$tool" 16384 64; done
for tool in cp cat bcp bcat dd head python; do echo start >"$ltt/$tool/control"; done
# One of them is read while it runs.
mkdir "$out/cat"
for cpu in 0 1; do cat "$ltt/cat/events_$cpu" >"$out/cat/events_$cpu" & done
work 300
for tool in cp cat bcp bcat dd head python; do echo stop >"$ltt/$tool/control"; done
wait
for tool in cp bcp bcat dd head python; do
	mkdir "$out/$tool"
	for cpu in 0 1; do
		from=$ltt/$tool/events_$cpu
		to=$out/$tool/events_$cpu
		case $tool in
		cp) cp "$from" "$to" ;;
		bcp) busybox cp "$from" "$to" ;;
		bcat) busybox cat "$from" >"$to" ;;
		dd) dd "if=$from" "of=$to" bs=512 2>/dev/null ;;
		head) head -c 10000 "$from" >"$to.head"; cat "$from" >"$to" ;;
		python) "$python" -c "import sys; sys.stdout.buffer.write(open('$from', 'rb').read())" >"$to" ;;
		esac
	done
done
for tool in cp cat bcp bcat dd head python; do
	names "$tool" "$out/$tool"
	rmdir "$ltt/$tool"
done
mkdir "$out/heads"
mv "$out"/head/*.head "$out/heads/"

echo "== a flight recorder"
mkdir "$out/flight" "$out/flight2"
session flight 16384 4 flight
echo start >"$ltt/flight/control"
work
echo snapshot >"$ltt/flight/control"
work 200
echo snapshot >"$ltt/flight/control" 2>/dev/null && echo "a second snapshot was let over the first" >"$out/flight-refusal"
cat "$ltt/flight/error" >>"$out/flight-refusal"
for cpu in 0 1; do cat "$ltt/flight/events_$cpu" >"$out/flight/events_$cpu"; done
names flight "$out/flight"
echo stop >"$ltt/flight/control"
for cpu in 0 1; do cat "$ltt/flight/events_$cpu" >"$out/flight2/events_$cpu"; done
names flight "$out/flight2"
rmdir "$ltt/flight"

echo "== everything at once"
mkdir "$out/busy"
session busy 8192 4
session other 4096 4 flight
echo "+syscall" >"$ltt/other/events"
for cpu in 0 1; do cat "$ltt/busy/events_$cpu" >"$out/busy/events_$cpu" & done
echo start >"$ltt/busy/control"
echo start >"$ltt/other/control"
(work; work) &
load=$!
for n in 8 32 16 64 4; do
	echo $n >"$ltt/busy/n_subbufs" 2>/dev/null
	echo snapshot! >"$ltt/other/control" 2>/dev/null
	echo 0 >/sys/devices/system/cpu/cpu1/online
	cat "$ltt/busy/stats" >>"$out/busy/.stats-live"
	echo "+syscall -irq" >"$ltt/busy/events"
	echo flush >"$ltt/busy/control"
	mkdir "$ltt/brief" && rmdir "$ltt/brief"
	echo 1 >/sys/devices/system/cpu/cpu1/online
	echo "cpu=0-1 uid=0" >"$ltt/busy/filter"
	echo "+irq" >"$ltt/busy/events"
	echo "" >"$ltt/busy/filter"
	echo reset >"$ltt/other/control" 2>/dev/null
done
wait $load
echo stop >"$ltt/busy/control"
wait
names busy "$out/busy"
rmdir "$ltt/busy"
cat "$ltt/other/stats" >"$out/other-stats"

echo "== refusals"
{
	echo nonsense >"$ltt/other/control"
	cat "$ltt/other/error"
	echo 1000 >"$ltt/other/subbuf_size"
	cat "$ltt/other/error"
	echo bogus >"$ltt/other/events"
	cat "$ltt/other/error"
	rmmod ltt && echo "unloaded under a session"
} >"$out/refusals" 2>/dev/null
rmdir "$ltt/other"

echo "== the recorder, killed"
# Not by the function: $! would be a shell that waits for the recorder.
"$python" -m ltt_relay.cli record -a -o "$out/killed" --session doomed >/dev/null 2>&1 &
recorder=$!
await grep -q running "$ltt/doomed/control" 2>/dev/null || exit 1
work
await has 100000 "$out"/killed/events_*
kill -9 $recorder
wait $recorder 2>/dev/null
relay status --json >"$out/status.json"
echo stop >"$ltt/doomed/control"
cp "$ltt/doomed/metadata" "$ltt/doomed/state_0" "$out/killed/"
relay status --remove doomed || echo failed >"$out/remove-failed"

echo "== the recorder, a command's own trace and status"
relay record -o "$out/command" -- sh -c '/bin/true; exit 3' 2>"$out/command-said"
echo $? >"$out/command-status"

echo "== unload"
ls "$ltt" >"$out/left"
umount /sys/kernel/relay
unload >"$out/unload" 2>&1
echo $? >>"$out/unload"
finish "$out"
