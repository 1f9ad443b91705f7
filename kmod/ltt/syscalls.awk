# SPDX-License-Identifier: GPL-2.0-only
# What each system call takes: awk -f this include/linux/syscalls.h generated/asm/syscalls_64.h
# How many arguments (unknown calls get 6), which of them is the first path (from 1; 0 for none), and whether the call is
# about sockets or about System V or POSIX IPC. The first file has the prototypes, the second, which may be missing, the
# numbers.
BEGIN {
	n = split("socket socketpair bind listen accept accept4 connect getsockname getpeername sendto recvfrom sendmsg " \
		  "recvmsg sendmmsg recvmmsg shutdown setsockopt getsockopt", list, " ")
	while (n)
		kind[list[n--]] = "SYSCALL_SOCKET"
	n = split("shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink " \
		  "mq_timedsend mq_timedreceive mq_notify mq_getsetattr", list, " ")
	while (n)
		kind[list[n--]] = "SYSCALL_IPC"
	# Architectures declare these elsewhere.
	count["arch_prctl"] = 2
	count["rt_sigreturn"] = 0
	count["iopl"] = 1
	count["modify_ldt"] = 3
}
/^asmlinkage long sys_[a-z0-9_]+\(/ { text = ""; open = 1 }
open {
	text = text $0
	if ($0 !~ /;/)
		next
	open = 0
	name = text
	sub(/^asmlinkage long sys_/, "", name)
	sub(/\(.*/, "", name)
	sub(/^[^(]*\(/, "", text)
	n = split(text, list, ",")
	for (i = n; i; i--)
		if (list[i] ~ /const char __user *\*[ \t]*[a-z]*(path|file|name)[a-z]*[ \t]*(\).*)?$/ && !(name in count))
			path[name] = i
	if (text ~ /^void[ \t]*\)/)
		n = 0
	if (!(name in count))
		count[name] = n
}
match($0, /^__SYSCALL[A-Z0-9_]*\([0-9]+, *[a-z0-9_]*sys_[a-z0-9_]+/) {
	entry = substr($0, RSTART, RLENGTH)
	number = entry
	sub(/^[^(]*\(/, "", number)
	sub(/,.*/, "", number)
	sub(/^.*, */, "", entry)
	sub(/^(__x64_)?sys_/, "", entry)
	# Numbers from 512 on are x32's.
	if (number + 0 < 512) {
		calls[number + 0] = entry
		if (number + 0 > last)
			last = number + 0
	}
}
function table(name, values, other,   i) {
	print "static const u8 " name "[] = {"
	for (i = 0; i <= last; i++)
		print "\t" (((i in calls) && (calls[i] in values)) ? values[calls[i]] : other) ","
	print "};"
}
END {
	print "/* Made by syscalls.awk. */"
	print "enum { SYSCALL_OTHER, SYSCALL_SOCKET, SYSCALL_IPC };"
	table("syscall_nargs", count, 6)
	table("syscall_path", path, 0)
	table("syscall_kind", kind, "SYSCALL_OTHER")
}
