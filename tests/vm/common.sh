# SPDX-License-Identifier: GPL-2.0-or-later
# For the scripts of this directory: ". common.sh" before anything else, "finish DIRECTORY" as the last.
leaks=/sys/kernel/debug/kmemleak

# What the kernel itself leaked while it started is not ours.
if [ -e $leaks ]; then
	echo scan >$leaks
	echo clear >$leaks
fi

# await COMMAND...: until it succeeds, for a minute
await() {
	tries=0
	until "$@"; do
		sleep 0.1
		tries=$((tries + 1))
		[ $tries -lt 600 ] || return 1
	done
}
# holds FILE...: is a file that somebody has open
holds() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q " -> $1\$"; }
# has SIZE FILE...: together they have so many bytes
has() {
	size=$1
	shift
	[ "$(cat "$@" 2>/dev/null | wc -c)" -ge "$size" ]
}

# unload: all modules, clients first; says what is refused
unload() {
	for module in evlog_sample klog_burst evlog klog ltt relayfs; do
		# A ring is closed by a worker, and relayfs stays until that has returned.
		[ ! -d /sys/module/$module ] || await rmmod $module 2>/dev/null || rmmod $module || return 1
	done
}

# finish DIRECTORY: the kernel's last words, and what it finds leaked, into DIRECTORY/dmesg
finish() {
	dmesg >"$1/dmesg"
	[ -e $leaks ] || return 0
	# Only what is some seconds old is looked at, and only what is found twice is reported.
	sleep 6
	echo scan >$leaks
	echo scan >$leaks
	cat $leaks >>"$1/dmesg"
	dmesg | tail -n 20 >>"$1/dmesg"
}
