#!/bin/sh
# In the guest: record workloads.c and delays.ko alone, then once more beside perf.
# workloads.sh OUT PYTHON ROOT WORK...: OUT has the program and the module
set -eu
out=$1 python=$2
export PYTHONPATH=$3
shift 3
# khugepaged holds a CPU for a millisecond now and then, and that time is not in the delay which the kernel counts for a
# task woken meanwhile: it leaves the run queue's clock as it was at the wake-up when a switch is due anyway.
echo never >/sys/kernel/mm/transparent_hugepage/enabled
modprobe null_blk irqmode=2 completion_nsec=1000000 queue_mode=2 submit_queues=1
mkdir "$out/alone" "$out/beside"
for run in alone beside; do
	cat >"$out/$run/work.sh" <<END
$out/program $out/$run $* >$out/$run/truth
insmod $out/delays.ko
cat /sys/module/delays/parameters/said >>$out/$run/truth
rmmod delays
END
done
record="-a -e sched -e irq -e syscall -e exceptions -e task -e user -e block -e timer -e irq_vectors -e lock"
cat /sys/block/nullb0/stat >"$out/alone/disk-0"
"$python" -m ltt_relay.cli record -o "$out/alone/trace" $record -- sh "$out/alone/work.sh"
cat /sys/block/nullb0/stat >"$out/alone/disk-1"
perf sched record -o "$out/beside/perf.data" -m 2048 -k CLOCK_MONOTONIC \
	-e irq:softirq_raise -e irq:softirq_entry -e irq:softirq_exit -e irq:irq_handler_entry -e irq:irq_handler_exit \
	-e lock:contention_begin -e lock:contention_end -- \
	"$python" -m ltt_relay.cli record -o "$out/beside/trace" $record -- sh "$out/beside/work.sh"
