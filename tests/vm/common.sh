# SPDX-License-Identifier: GPL-2.0-or-later
# For the scripts of this directory: ". common.sh" before anything else, "finish DIRECTORY" as the last.
leaks=/sys/kernel/debug/kmemleak

# What the kernel itself leaked while it started is not ours.
if [ -e $leaks ]; then
	echo scan >$leaks
	echo clear >$leaks
fi

# unload: all modules, clients first; says what is refused
unload() {
	for module in evlog_sample klog_burst evlog klog ltt relayfs; do
		[ ! -d /sys/module/$module ] || rmmod $module || return 1
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
