# SPDX-License-Identifier: GPL-2.0-or-later
# blktrace records what is known to be done to two loop devices: sh blktrace.sh OUT
set -eu
out=$1
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
[ -e /sys/module/loop ] || modprobe loop  # built in, maybe
for n in 6 7; do
	truncate -s 16M /run/disk$n
	[ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n
	busybox losetup /dev/loop$n /run/disk$n
done

traces() {  # it has started all devices: its threads poll for data, and itself waits for them
	set -- /proc/$tracer/task/*
	[ $# -gt 1 ] || return 1
	for task; do
		read -r call _ <"$task/syscall" || return 1
		case ${task##*/}:$call in
		$tracer:202 | $tracer:7) ;; # futex, poll of x86-64
		$tracer:*) return 1 ;;
		*:7) ;;
		*) return 1 ;;
		esac
	done
}

begin() {  # begin NAME DEVICE...: blktrace of devices, until `end`
	# It maps its files, as those of the machine outside cannot be with each kernel.
	to=/run/traces/$1; shift
	mkdir -p "$to"
	devices=
	for device; do devices="$devices -d /dev/$device"; done
	# shellcheck disable=SC2086
	/usr/sbin/blktrace $devices -D "$to" >"$to.said" 2>&1 & tracer=$!
	tries=0
	until traces; do
		tries=$((tries + 1)); [ $tries -lt 200 ] || exit 3
		sleep 0.1
	done
}

end() {
	kill -INT $tracer
	wait $tracer
	cp -r "$to" "$to.said" "$out/"
}

begin plain loop6 loop7
for i in 1 2 3 4 5 6 7 8; do
	dd if=/dev/zero of=/dev/loop6 bs=4096 count=1 seek=$((7 * i)) oflag=direct conv=notrunc status=none
done
echo "half of it" >/sys/kernel/debug/block/loop6/msg
taskset -c 1 dd if=/dev/zero of=/dev/loop7 bs=64k count=8 conv=notrunc,fsync status=none
taskset -c 0 dd if=/dev/loop7 of=/dev/null bs=64k count=4 iflag=direct status=none
end

# The same with the ids of control groups: of the nearest one with the controller "io", the root if nothing enables it.
mkdir -p /run/groups
mount -t cgroup2 none /run/groups
stat -c %i /run/groups >"$out/group"
echo 1 >/sys/kernel/tracing/options/blk_cgroup
begin groups loop6
dd if=/dev/zero of=/dev/loop6 bs=4096 count=5 oflag=direct conv=notrunc status=none
echo "from a group" >/sys/kernel/debug/block/loop6/msg
end
