#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Process 1 of the guest. Runs under busybox, first in the initial file system ("boot"), then on the machine's files
# ("main"). The caller puts beside it:
#   config        shell variables: base_modules, modules, early, rw_directories, has_stdin, hostname
#   command       the program to run: a shell script that replaces itself by it
#   boot/*.ko     drivers for what this script itself needs      modules/*.ko   what was asked for
# It talks with the caller by lines on the port "control": up: ready, failed TEXT, pong, exit STATUS OUT ERR; down: ping.
# OUT and ERR are the bytes sent through the ports "stdout" and "stderr", so that the caller knows when it has all.

busybox=/bin/busybox
home=/run/ltt-relay

fail() {
	echo "ltt-relay: $*" >/dev/console
	[ -n "$talking" ] && echo "failed $*" >&3
	# Give the port time to empty.
	$busybox sleep 1
	$busybox poweroff -f
	$busybox sleep 60
}

# port NAME: the device of a virtio-serial port; there is no udev to make links
port() {
	for entry in /sys/class/virtio-ports/*; do
		read -r name <"$entry/name" 2>/dev/null && [ "$name" = "$1" ] && echo "/dev/${entry##*/}" && return
	done
}

# load DIRECTORY NAMES: insert modules in that order; a name may carry parameters, as in "klog:doorbell=0"
load() {
	directory=$1
	shift
	for item; do
		name=${item%%:*}
		parameters=
		[ "$name" = "$item" ] || parameters=$(echo "${item#*:}" | $busybox tr : ' ')
		[ -d "/sys/module/$name" ] && continue
		# shellcheck disable=SC2086
		$busybox insmod "$directory/$name.ko" $parameters 2>"$home/insmod.err" || {
			read -r reason <"$home/insmod.err"
			fail "module $name does not load: $reason"
		}
	done
}

boot() {
	$busybox mount -t devtmpfs devtmpfs /dev
	$busybox mount -t proc proc /proc
	$busybox mount -t sysfs sysfs /sys
	. /config
	# shellcheck disable=SC2086
	[ "$early" = no ] || load /modules $modules
	# shellcheck disable=SC2086
	load /boot $base_modules
	tries=0
	until control=$(port control) && [ -n "$control" ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || fail "the port to the caller did not appear"
		$busybox usleep 20000
	done
	exec 3<>"$control" || fail "cannot open $control"
	talking=yes

	# Loose caching is safe for files that nobody changes meanwhile, and makes starting programs bearable. What is
	# written lands in memory, over the machine's files.
	$busybox mount -t 9p -o "ro,$p9_options,cache=loose" root /lower || fail "cannot mount this machine's files"
	$busybox mount -t tmpfs -o mode=755 tmpfs /upper
	$busybox mkdir /upper/files /upper/work
	$busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root ||
		fail "cannot lay a writable layer over this machine's files"
	for directory in dev proc sys run; do
		[ -d "/root/$directory" ] || $busybox mkdir "/root/$directory"
	done
	$busybox mount -t tmpfs -o mode=755 tmpfs /root/run
	$busybox mkdir -p "/root$home/boot" /root/run/lock
	$busybox cp -r /config /command /init /modules "/root$home/"
	$busybox cp /bin/busybox "/root$home/busybox"
	for directory in dev proc sys; do
		$busybox mount --move "/$directory" "/root/$directory"
	done
	exec $busybox switch_root /root "$home/busybox" sh "$home/init" main
}

# system NAME DIRECTORY [OPTIONS]: mount one of the kernel's own file systems, if this kernel has it
system() {
	[ -d "$2" ] || $busybox mkdir -p "$2" 2>/dev/null
	$busybox mount -t "$1" -o "${3:-defaults}" "$1" "$2" 2>/dev/null
}

mounts() {
	system devpts /dev/pts gid=5,mode=620,ptmxmode=666
	system tmpfs /dev/shm mode=1777
	for pair in /proc/self/fd:/dev/fd /proc/self/fd/0:/dev/stdin /proc/self/fd/1:/dev/stdout /proc/self/fd/2:/dev/stderr; do
		[ -e "${pair#*:}" ] || $busybox ln -s "${pair%%:*}" "${pair#*:}"
	done
	system debugfs /sys/kernel/debug
	system tracefs /sys/kernel/tracing
	system securityfs /sys/kernel/security
	system cgroup2 /sys/fs/cgroup
	# The kernel's stock modules, for those who call modprobe.
	if [ -n "$stock_modules" ]; then
		release=$($busybox uname -r)
		$busybox mkdir -p "/lib/modules/$release"
		$busybox mount -o bind "$stock_modules" "/lib/modules/$release" 2>/dev/null
	fi
	# Of a file that is being written, 6.12 and 7.3 throw away parts from a cache when somebody asks for its size. Without a
	# cache it cannot be mapped shared and writable, as blktrace does with its files.
	case $($busybox uname -r) in
	5.* | 6.1.*) cache=mmap ;;
	*) cache=none ;;
	esac
	index=0
	printf '%s' "$rw_directories" | while IFS= read -r directory; do
		$busybox mkdir -p "$directory" && $busybox mount -t 9p -o "rw,$p9_options,cache=$cache" "rw$index" "$directory" ||
			echo "$directory" >>"$home/unmounted"
		index=$((index + 1))
	done
	[ -e "$home/unmounted" ] && fail "cannot mount $($busybox head -n 1 "$home/unmounted")"
}

# pass NAME: from the command's pipe to the port, counting the bytes. (busybox' dd may be built not to say how many.)
pass() {
	$busybox tee "$(port "std$1")" <"$home/$1" | $busybox wc -c >"$home/$1.count"
}

# End what the command left behind, except this script's own ($keep and their children).
sweep() {
	for entry in /proc/[0-9]*; do
		pid=${entry#/proc/}
		read -r _ _ _ parent _ 2>/dev/null <"$entry/stat"
		case " 1 $$ $keep " in
		*" $pid "*) continue ;;
		esac
		case " $keep " in
		*" $parent "*) continue ;;
		esac
		kill -9 "$pid" 2>/dev/null
	done
}

run() {
	for name in out err in; do
		$busybox mkfifo "$home/$name"
	done
	# A pipe between the command and each port: a port can be opened only once, so /dev/stdout would fail on it.
	pass out 3>&- >/dev/null &
	out_pid=$!
	pass err 3>&- >/dev/null &
	err_pid=$!
	input=/dev/null
	if [ "$has_stdin" = yes ]; then
		input=$home/in
		$busybox dd if="$(port stdin)" of="$input" bs=64k 2>/dev/null 3>&- &
	fi
	(
		while read -r word <&3; do
			[ "$word" = ping ] && echo pong >&3
		done
		# The caller is gone.
		$busybox poweroff -f
	) &
	answering=$!
	echo ready >&3
	$busybox sh "$home/command" <"$input" >"$home/out" 2>"$home/err" 3>&- &
	wait $!
	status=$?
	# What the command left running may still hold its output: it gets a moment to end by itself.
	(
		$busybox sleep 2
		read -r self _ </proc/self/stat
		keep="$out_pid $err_pid $answering $self"
		sweep
	) 3>&- &
	late=$!
	wait $out_pid $err_pid
	kill $late
	keep=$answering
	sweep
}

main() {
	busybox=$home/busybox
	talking=yes
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	. "$home/config"
	$busybox hostname "$hostname"
	$busybox ip link set lo up
	mounts
	# shellcheck disable=SC2086
	load "$home/modules" $modules
	if [ -d /sys/module/relayfs ]; then
		$busybox mount -t relayfs relayfs /sys/kernel/relay || fail "cannot mount relayfs at /sys/kernel/relay"
	fi
	run
	# Whatever is still in memory for the writable directories goes out now.
	$busybox umount -a -t 9p 2>/dev/null
	$busybox sync
	read -r out_count <"$home/out.count"
	read -r err_count <"$home/err.count"
	echo "exit $status $out_count $err_count" >&3
	$busybox sleep 10
	$busybox poweroff -f
	$busybox sleep 60
}

case $1 in
main) main ;;
*) boot ;;
esac
