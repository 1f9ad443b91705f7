#!/bin/sh
# In the guest: record workloads.c alone, then once more beside perf. workloads.sh OUT PROGRAM PYTHON ROOT
set -eu
out=$1 program=$2 python=$3
export PYTHONPATH=$4
modprobe null_blk irqmode=2 completion_nsec=1000000 queue_mode=2 submit_queues=1
mkdir "$out/alone" "$out/beside"
record() {
	echo "$python -m ltt_relay.cli record -o $out/$1/trace -a -e sched -e irq -e syscall -e exceptions -e task -e user \\
		-e block -e timer -e irq_vectors -- sh -c '$program $out/$1 sleeps calls forks touches \
		spin1+spin2 moves ping+pong waits reads >$out/$1/truth'"
}
cat /sys/block/nullb0/stat >"$out/alone/disk-0"
eval "$(record alone)"
cat /sys/block/nullb0/stat >"$out/alone/disk-1"
perf sched record -o "$out/beside/perf.data" -m 2048 -- sh -c "$(record beside)"
