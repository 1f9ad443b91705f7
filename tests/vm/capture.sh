#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What record, its kin and their failures look like to a user: runs in the guest as root, without the modules loaded;
# $1 is where results go, $2 Python, $3 the project, $4 the modules.
out=$1
python=$2
modules=$4
export PYTHONPATH=$3
. "$3/tests/vm/common.sh"
ltt=/sys/kernel/relay/ltt
relay() { "$python" -m ltt_relay.cli "$@"; }
# try NAME COMMAND...: its output and status go to NAME.out, NAME.err and NAME.status
try() {
	name=$1
	shift
	"$@" >"$out/$name.out" 2>"$out/$name.err"
	echo $? >"$out/$name.status"
}
# begin NAME OPTIONS...: record in the background as session NAME, and wait until it records; $pid is the recorder
begin() {
	recording=$1
	shift
	# Not by the function: $! would be a shell that waits for the recorder.
	"$python" -m ltt_relay.cli record --session "$recording" "$@" >"$out/$recording.out" 2>"$out/$recording.err" &
	pid=$!
	await grep -q running "$ltt/$recording/control" 2>/dev/null || exit 1
}
# end SIGNAL: end the recorder and note its status
end() {
	[ "$1" = none ] || kill "-$1" "$pid"
	wait "$pid"
	echo $? >"$out/$recording.status"
}
work() {
	i=0
	while [ $i -lt "${1:-10}" ]; do
		ls -lR /usr/share/doc 2>/dev/null | head -n 300 >/dev/null
		i=$((i + 1))
	done
}

echo "== no module, no root, and how to get there"
try no-module relay record -d 1 -o /tmp/never
try load relay module load --from "$modules"

echo "== who is not root, let in or not"
# Python and the project may lie where only root may go: everybody may here, in the guest.
for path in "$python" "$(readlink -f "$python")" "$PYTHONPATH/."; do
	until path=${path%/*} && [ -z "$path" ]; do
		case $(stat -L -c %A "$path") in *x | *t) ;; *) chmod a+x "$path" ;; esac
	done
done
mkdir -m 1777 /tmp/tour
tour() { (cd /tmp/tour && /usr/bin/setpriv --reuid=65534 --regid=65534 "$@"); }
tour --clear-groups "$python" "$3/tests/vm/tour_guest.py" shut_out
try group relay module load --group 4711
tour --groups 4711 "$python" "$3/tests/vm/tour_guest.py" let_in
mkdir "$ltt/open"
echo +marker >"$ltt/open/events"
echo start >"$ltt/open/control"
mount -o remount,gid=0,mode=711,log_mode=222 /sys/kernel/relay
tour --clear-groups "$python" "$3/tests/vm/tour_guest.py" writes_markers
mount -o remount,mode=700,log_mode=0 /sys/kernel/relay
echo stop >"$ltt/open/control"
cat "$ltt"/open/events_* >"$out/open.events"
rmdir "$ltt/open"
cp -r /tmp/tour "$out/tour"
try list relay list --json
# No debug symbols, and none of the addresses that the kernel tells.
echo 2 >/proc/sys/kernel/kptr_restrict
ls -d /usr/lib/debug/boot /boot/System.map* >"$out/symbols" 2>/dev/null

echo "== what nothing is recorded of, and where it may go"
try no-function relay record -e kprobe:no_such_function -o /tmp/never -- true
mkdir /tmp/here
cd /tmp/here || exit 1
try here relay record -o . -- true
"$python" -m ltt_relay.cli record -o "$out/closed" -- true 2>&-
echo $? >"$out/closed.status"
cd / || exit 1
cp -r /tmp/here "$out/here"

echo "== ended by Ctrl-C, a CPU unplugged and back meanwhile, the counters asked for"
begin sigint -o "$out/sigint" -e sched -e syscall --live
work 3
try attach-busy relay record --attach sigint -o "$out/attach-busy" -d 1
try no-marker relay marker --session sigint text
try no-flight relay snapshot sigint -o "$out/no-flight"
try no-session relay marker --session nobody text
echo 0 >/sys/devices/system/cpu/cpu1/online
work 3
kill -USR1 $pid
echo 1 >/sys/devices/system/cpu/cpu1/online
work 3
cp "$ltt/sigint/stats" "$out/sigint.stats"
end INT

echo "== disk full"
mkdir /tmp/small /tmp/smaller
mount -t tmpfs -o size=1200k tmpfs /tmp/small
begin full -o /tmp/small/trace -d 120
work 40
end none
cp -r /tmp/small/trace "$out/full"
mount -t tmpfs -o size=200k tmpfs /tmp/smaller
try full-command relay record -a -o /tmp/smaller/trace -- sh -c '
	i=0; while [ $i -lt 8 ]; do ls -lR /usr/share/doc 2>/dev/null | head -n 300 >/dev/null; i=$((i + 1)); done; exit 5'

echo "== a reader slower than the writer"
try slow relay record -a -e syscall --subbuf-size 4096 --n-subbufs 2 -o "$out/slow" -- \
	dd if=/dev/zero of=/dev/null bs=1 count=60000

echo "== killed, and taken over"
begin killed -o "$out/killed"
work 5
# What it had read of records and of names when it died is in its files.
await has 100000 "$out"/killed/events_*
await has "$(wc -c <"$ltt/killed/state_0")" "$out/killed/state_0"
kill -9 $pid
wait $pid 2>/dev/null
work 2
try killed-status relay status --json
try attach relay record --attach killed -o "$out/attached" -d 0.5

echo "== the session removed"
begin removed -o "$out/removed"
work 3
await has 100000 "$out"/removed/events_*
try remove relay status --remove removed
end none

echo "== collector gone and back"
"$python" -m ltt_relay.cli collect -o "$out/collected" >"$out/collect.out" 2>"$out/collect.err" &
collector=$!
await grep -q listening "$out/collect.err" || exit 1
try nobody relay record --to tcp://127.0.0.1:9 -d 1
begin remote --to tcp://127.0.0.1 -o target -e sched -e syscall
work 3
kill -9 $collector
work 5
"$python" -m ltt_relay.cli collect -o "$out/collected" --count 1 >"$out/collect.out" 2>"$out/collect2.err" &
collector=$!
work 3
cp "$ltt/remote/stats" "$out/remote.stats"
end INT
wait $collector

echo "== flight recorders"
begin flight --mode flight -o "$out/flight" --n-subbufs 4 --subbuf-size 65536
work 5
kill -USR1 $pid
await grep -q snapshot "$out/flight.err" || exit 1
work 3
try snapshot relay snapshot flight -o "$out/snapshot"
work 1
end INT
try kept relay record --mode flight --save failure -o "$out/kept" -- false
try dropped relay record --mode flight --save failure -o "$out/dropped" -- true

echo "== logs taken along"
try logs relay record --klog -o "$out/logs" -- sh -c 'echo "a line of the user" >/dev/kmsg; sleep 0.3'

echo "== a trigger"
begin trigger --mode flight -o "$out/trigger" --trigger 'sched_process_exec snapshot' --n-subbufs 4
/bin/true
await grep -q snapshot "$out/trigger.err" || exit 1
end INT

echo "== unload"
mkdir "$ltt/holding"
try busy relay module unload
relay status --remove holding
try unload relay module unload
finish "$out"

echo "== locked down"
try machine relay module status --json
[ -e /sys/kernel/security/lockdown ] || exit 0
relay module load --from "$modules"
echo integrity >/sys/kernel/security/lockdown
try locked-record relay record -e sched -o "$out/locked" -- true
relay module unload
try lockdown relay module load --from "$modules"
try locked-machine relay module status --json
