#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# $1 results, $2 Python, $3 the project, $4 the modules' build, $5 seconds, $6 seed
export PYTHONPATH=$3
. "$3/tests/vm/common.sh"
"$2" "$3/tests/vm/stress.py" "$1" "$5" "$6" "$4"
status=$?
umount /sys/kernel/relay
unload >"$1/unload" 2>&1
echo $? >>"$1/unload"
finish "$1"
exit $status
