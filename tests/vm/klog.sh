#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The logs, in one boot; $1 is where results go, $2 Python, $3 the project, $4 the modules' build, $5 how many lines to print.
out=$1
python=$2
export PYTHONPATH=$3
build=$4
lines=$5
. "$3/tests/vm/common.sh"
klog=/sys/kernel/relay/klog
evlog=/sys/kernel/relay/evlog
relay() { "$python" -m ltt_relay.cli "$@"; }
now() { "$python" -c 'import time; print(time.time_ns())'; }
# renew LOG: a trace of its own, with counters from 0
renew() { cat /proc/sys/kernel/random/uuid >"$1/uuid"; }
# keep LOG DIRECTORY: what is not packets
keep() {
	cp "$1/metadata" "$2/"
	cp "$1/stats" "$2/.stats"
}
# taken LINES: so many have been read or are lost; some of them only after the reader has waited for a while
taken() { [ "$(awk 'NR > 1 { n += $3 + $6 } END { print n }' $klog/stats)" -ge "$1" ]; }
# burst DIRECTORY PARAMETERS: print, and keep the kernel's own log
burst() {
	directory=$1
	shift
	insmod "$build/samples/klog_burst.ko" "$@" && rmmod klog_burst
	dmesg >"$directory/.dmesg"
}

echo "== taken along with a session: the boot log from its first line, and a record of each kind"
ls $klog >"$out/klog-files"
ls $evlog >"$out/evlog-files"
relay record --klog --evlog -e user -o "$out/along" -- sh -c '
	echo "<165>from user space" >/dev/kmsg
	printf "<3>two\nlines\n" >/dev/kmsg
	echo "local5.alert:99 @n=1 taken along" >/sys/kernel/relay/evlog/log' 2>"$out/along-said"
echo $? >"$out/along-status"
dmesg -r >"$out/along-dmesg"

echo "== more lines than the kernel's log holds, a slow reader"
mkdir "$out/slow"
renew $klog
echo 512 >$klog/n_subbufs_max
"$python" -c "
import os, sys, time
source, to, flag = sys.argv[1:]
reader = os.open(source, os.O_RDONLY)
with open(to, 'wb') as file:
    while data := os.read(reader, 4096 if not os.path.exists(flag) else 1 << 20):
        file.write(data)
        if not os.path.exists(flag):
            time.sleep(0.05)
" $klog/klog_0 "$out/slow/klog_0" /tmp/fast &
reader=$!
echo start >$klog/control
burst "$out/slow" lines="$lines"
cp $klog/stats "$out/slow/.stats-burst"
cat $klog/n_subbufs >"$out/slow/.grown"
touch /tmp/fast
sleep 1
echo stop >$klog/control
wait $reader
keep $klog "$out/slow"

echo "== more lines than the kernel's log holds, interrupts off"
mkdir "$out/irqs-off"
renew $klog
cat $klog/klog_0 >"$out/irqs-off/klog_0" &
echo start >$klog/control
# Who looks once after the start must not look from the other CPU meanwhile.
sleep 0.2
burst "$out/irqs-off" lines=5000 irqs_off=1
sleep 0.5
echo stop >$klog/control
wait
keep $klog "$out/irqs-off"

echo "== no line taken yet, and the first ones are overwritten"
mkdir "$out/first"
renew $klog
dmesg -c >"$out/cleared"
echo start >$klog/control
# Nobody looks again now before a line rings.
sleep 0.2
cat $klog/klog_0 >"$out/first/klog_0" &
burst "$out/first" lines=5000 irqs_off=1
sleep 0.5
echo stop >$klog/control
wait
keep $klog "$out/first"

echo "== a channel that may not grow: the kernel's log is the slack, and then it is exact"
mkdir "$out/full"
rmmod klog
insmod "$build/klog.ko"
echo 4096 >$klog/subbuf_size
echo 2 >$klog/n_subbufs
echo 0 >$klog/n_subbufs_max
# What was cleared is not begun with.
dmesg -c >>"$out/cleared"
echo start >$klog/control
burst "$out/full" lines=4000
cp $klog/stats "$out/full/.stats-burst"
# A timer finds that there is room again: nothing is printed now that would ring.
cat $klog/klog_0 >"$out/full/klog_0" &
await taken 4000
cp $klog/stats "$out/full/.stats-drained"
echo stop >$klog/control
wait
keep $klog "$out/full"

echo "== without the doorbell, from an NMI, and by several at once"
mkdir "$out/timer"
rmmod klog
insmod "$build/klog.ko" doorbell=0 start=1
cat $klog/control >"$out/started"
cat $klog/klog_0 >"$out/timer/klog_0" &
echo l >/proc/sysrq-trigger
writers=
for writer in 1 2 3 4; do
	(for n in 1 2 3 4 5 6 7 8 9 10; do echo "<6>writer $writer line $n" >/dev/kmsg; done) &
	writers="$writers $!"
done
# shellcheck disable=SC2086
wait $writers
# Long enough for the timer that looks every 10 ms.
sleep 1
(
	rmmod klog && echo "unloaded under an open file"
	echo nonsense >$klog/control
	cat $klog/error
	echo 12345 >$klog/uuid
	cat $klog/error
	cat /proc/sys/kernel/random/uuid >$klog/uuid
	cat $klog/error
) >"$out/klog-refusals" 2>/dev/null
echo stop >$klog/control
wait
dmesg -r >"$out/timer/.dmesg"
keep $klog "$out/timer"

echo "== the event log"
mkdir "$out/evlog"
renew $evlog
echo start >$evlog/control
for cpu in 0 1; do cat $evlog/evlog_$cpu >"$out/evlog/evlog_$cpu" & done
now >"$out/before"
echo 'daemon.err:0x17 @disk="sd \"a\" 1" @free=0 @delta=-3 @big=18446744073709551615 @ro=true @what=x no room' >$evlog/log
echo 'user.info plain' >$evlog/log
printf 'local7.emerg:4294967295 n\303\244her\377' >$evlog/log
insmod "$build/samples/evlog_sample.ko"
rmmod evlog && echo "unloaded under a client" >"$out/evlog-refusals"
rmmod evlog_sample
{
	for bad in 'kern.info not ours' 'bogus' 'daemon.bad x' 'nobody.info x' 'user.info:x y' 'user.info @=1 y' \
		'user.info @a="b' 'user.info @1a=b c' "$(printf '\033[2J')"; do
		echo "$bad" >$evlog/log && echo "accepted: $bad"
		cat $evlog/error
	done
	echo "rubbish" >$evlog/threshold
	cat $evlog/error
	echo "x" >$evlog/rate_limit
	cat $evlog/error
} >>"$out/evlog-refusals" 2>/dev/null
"$python" - >"$out/evlog-sizes" <<-'END'
	import os
	log = os.open("/sys/kernel/relay/evlog/log", os.O_WRONLY)
	for text in (b"a" * 1023, b"a" * 1024, b"a" * 8000, b'@a="' + b"\x01" * 400 + b'" x', b"a\0b"):
	    try:
	        print(os.write(log, b"user.debug:7 " + text))
	    except OSError as error:
	        print(error.strerror)
END
# A user whom the mount options let write, to this file and no other, until the limit.
mount -o remount,mode=0711,log_mode=0222 /sys/kernel/relay
ls -l $evlog >"$out/evlog-modes"
echo 20 >$evlog/rate_limit
"$python" - >"$out/evlog-limit" <<-'END'
	import os, time
	os.setgid(1000), os.setuid(1000)
	log = os.open("/sys/kernel/relay/evlog/log", os.O_WRONLY)
	taken, begin = 0, time.monotonic()
	for n in range(200):
	    try:
	        os.write(log, b"user.notice:8 @n=%d of a user" % n)
	        taken += 1
	    except BlockingIOError:
	        pass
	print(taken, time.monotonic() - begin)
	try:
	    os.open("/sys/kernel/relay/evlog/control", os.O_WRONLY)
	except PermissionError:
	    print("control is not for users")
END
mount -o remount,mode=0700,log_mode=0 /sys/kernel/relay
cat $evlog/error >"$out/evlog-why"
echo 0 >$evlog/rate_limit
echo "warning auth=debug" >$evlog/threshold
echo "user.notice:9 below" >$evlog/log
echo "auth.debug:9 not below" >$evlog/log
cp $evlog/threshold "$out/evlog-threshold"
cp $evlog/refused "$out/evlog-refused"
# The limit is a user's, however many write at once.
mount -o remount,mode=0711,log_mode=0222 /sys/kernel/relay
echo 20 >$evlog/rate_limit
"$python" - >"$out/evlog-limit-together" <<-'END'
	import os, time
	os.setgid(1001), os.setuid(1001)
	log = os.open("/sys/kernel/relay/evlog/log", os.O_WRONLY)
	begin = time.monotonic()
	for n in range(4):
	    if not os.fork():
	        while time.monotonic() < begin + 2:
	            try:
	                os.write(log, b"user.warning:10 of a user")
	            except BlockingIOError:
	                pass
	        os._exit(0)
	for n in range(4):
	    os.wait()
	print(time.monotonic() - begin)
END
mount -o remount,mode=0700,log_mode=0 /sys/kernel/relay
echo 0 >$evlog/rate_limit
now >>"$out/before"
echo stop >$evlog/control
echo "user.emerg stopped" >$evlog/log 2>"$out/evlog-stopped"
cat $evlog/error >>"$out/evlog-why"
wait
keep $evlog "$out/evlog"

echo "== unload"
umount /sys/kernel/relay
unload >"$out/unload" 2>&1
echo $? >>"$out/unload"
finish "$out"
