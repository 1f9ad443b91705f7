# SPDX-License-Identifier: GPL-2.0-only
# How many arguments each system call takes: awk -f this include/linux/syscalls.h generated/asm/syscalls_64.h
# The first file has the prototypes, the second, which may be missing, the numbers. Unknown calls get 6.
BEGIN {
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
	n = gsub(/,/, ",", text) + 1
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
		calls[number + 0] = (entry in count) ? count[entry] : 6
		if (number + 0 > last)
			last = number + 0
	}
}
END {
	print "/* Made by syscall-nargs.awk. */"
	print "static const u8 syscall_nargs[] = {"
	for (i = 0; i <= last; i++)
		print "\t" ((i in calls) ? calls[i] : 6) ","
	print "};"
}
