#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# $1 results, $2 Python, $3 the project, $4 the modules' build, $5 a Python program of this directory, which gets $1
export PYTHONPATH=$3
. "$3/tests/vm/common.sh"
"$2" "$3/tests/vm/$5" "$1"
status=$?
finish "$1"
exit $status
