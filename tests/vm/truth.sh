#!/bin/sh
# In the guest: record the workloads of truth.c, then once more beside perf. truth.sh OUT PROGRAM PYTHON ROOT
set -eu
out=$1 program=$2 python=$3
export PYTHONPATH=$4
modprobe null_blk irqmode=2 completion_nsec=1000000 queue_mode=2 submit_queues=1
mkdir "$out/alone" "$out/beside"
record() {
	echo "$python -m ltt_relay.cli record -o $out/$1/trace -e 'sched_*' -e sys_enter -e sys_exit -e 'irq_handler_*' \
		-e 'softirq_*' -e 'page_fault_*' -- sh -c '$program $out/$1 >$out/$1/truth'"
}
cat /sys/block/nullb0/stat >"$out/alone/disk-0"
eval "$(record alone)"
cat /sys/block/nullb0/stat >"$out/alone/disk-1"
perf sched record -o "$out/beside/perf.data" -m 2048 -- sh -c "$(record beside)"
