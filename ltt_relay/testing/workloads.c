// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Workloads whose truth is known: workloads DIRECTORY NAME[+NAME...]...
 *
 * Those joined by + run at the same time, the others one after the other, each in a child of its own that prints a line
 *
 *	name tid begin end key=value ...
 *
 * begin and end in ns of the monotonic clock, and between them what it did and what the kernel says of it: run and
 * delay (ns, /proc/self/schedstat), nvcsw, nivcsw, faults (getrusage), migrations (/proc/self/sched, if there).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef long long ns_t;

struct state {
	ns_t time, run, delay, migrations;
	long nvcsw, nivcsw, faults;
};

static char said[512];

static ns_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void say(const char *format, ...)
{
	va_list list;
	size_t used = strlen(said);

	va_start(list, format);
	vsnprintf(said + used, sizeof(said) - used, format, list);
	va_end(list);
}

static void pause_ns(ns_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static void schedstat(ns_t *run, ns_t *delay)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");

	if (!file || fscanf(file, "%lld %lld", run, delay) != 2)
		*run = *delay = -1;
	if (file)
		fclose(file);
}

/*
 * /proc/thread-self: the rest of the process does not count. The kernel adds up when a task leaves the CPU (and at its
 * ticks): sleep before, and look again if it added something meanwhile.
 */
static void look(struct state *s)
{
	char line[256];
	struct rusage usage;
	ns_t run, delay;

	do {
		pause_ns(1000000);
		schedstat(&s->run, &s->delay);
		s->migrations = -1;
		FILE *file = fopen("/proc/thread-self/sched", "r");

		while (file && fgets(line, sizeof(line), file))
			sscanf(line, "se.nr_migrations : %lld", &s->migrations);
		if (file)
			fclose(file);
		getrusage(RUSAGE_THREAD, &usage);
		s->nvcsw = usage.ru_nvcsw;
		s->nivcsw = usage.ru_nivcsw;
		s->faults = usage.ru_minflt + usage.ru_majflt;
		s->time = now();
		schedstat(&run, &delay);
	} while (run != s->run || delay != s->delay);
}

#define FILES 4

/* What the kernel has counted so far, with the times before and after. */
static void counters(const char *directory, int number)
{
	static const char *const files[FILES] = { "interrupts", "softirqs", "stat", "vmstat" };
	static char text[FILES][1 << 16];
	char path[512];
	ssize_t length[FILES];
	ns_t begin = now();

	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "/proc/%s", files[i]);
		int fd = open(path, O_RDONLY);

		length[i] = 0;
		for (ssize_t n = 1; n > 0; length[i] += n > 0 ? n : 0)
			n = read(fd, text[i] + length[i], sizeof(text[i]) - length[i]);
		close(fd);
	}
	printf("counters%d 0 %lld %lld\n", number, begin, now());
	fflush(stdout);
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s-%d", directory, files[i], number);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

		if (write(fd, text[i], length[i]) != length[i])
			perror(path);
		close(fd);
	}
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("sched_setaffinity");
}

static void sleeps(void)
{
	ns_t begin = now();

	for (int i = 0; i < 100; i++)
		pause_ns(10000000);
	say(" sleeps=100 elapsed=%lld", now() - begin);
}

static void calls(void)
{
	for (int i = 0; i < 1000; i++)
		syscall(SYS_getppid);
	for (int i = 0; i < 50; i++)
		close(-1);
	say(" getppid=1000 ebadf=50");
}

/* One of them takes fifty times as long as the others. */
static void polls(void)
{
	for (int i = 0; i < 40; i++) {
		struct timespec t = { 0, i == 30 ? 50000000 : 1000000 };

		syscall(SYS_ppoll, NULL, 0, &t, NULL, 0);
	}
	say(" polls=40 longest=50000000");
}

static void forks(void)
{
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	say(" forks=30");
}

static void touches(void)
{
	size_t pages = 512, size = pages * 4096;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(memory, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += 4096)
		memory[i] = 1;
	say(" pages=%zu", pages);
}

/* Those of the same CPU share it. The clock is looked at seldom: where it is a system call, each is a record. */
static void spins(void)
{
	ns_t until = now() + 1000000000;

	while (now() < until) {
		for (volatile int i = 0; i < 1000000; i++)
			;
	}
}

static void moves(void)
{
	for (int i = 0; i < 40; i++)
		pin(i & 1);
	say(" moves=39");
}

static int there[2], back[2];

static void ping(void)
{
	char byte = 0;

	for (int i = 0; i < 200; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			break;
	}
	say(" rounds=200");
}

static void pong(void)
{
	char byte;

	for (int i = 0; i < 200; i++) {
		if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
			break;
	}
	say(" rounds=200");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;

static void *holder(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "t-holder");
	for (int i = 0; i < 20; i++) {
		pthread_mutex_lock(&lock);
		pthread_barrier_wait(&both);
		pause_ns(5000000);
		pthread_mutex_unlock(&lock);
		pthread_barrier_wait(&both);
	}
	return NULL;
}

/* Each time it asks for the lock another thread has it and sleeps 5 ms. */
static void waits(void)
{
	pthread_t other;
	ns_t waited = 0;

	pthread_barrier_init(&both, NULL, 2);
	pthread_create(&other, NULL, holder, NULL);
	for (int i = 0; i < 20; i++) {
		pthread_barrier_wait(&both);
		ns_t begin = now();

		pthread_mutex_lock(&lock);
		waited += now() - begin;
		pthread_mutex_unlock(&lock);
		pthread_barrier_wait(&both);
	}
	pthread_join(other, NULL);
	say(" locks=20 waited=%lld address=%lld", waited, (ns_t)(size_t)&lock);
}

/* A device whose every request takes 1 ms. */
static void reads(void)
{
	void *block;
	ns_t begin = now();
	int fd = open("/dev/nullb0", O_RDONLY | O_DIRECT);

	if (fd < 0 || posix_memalign(&block, 4096, 4096)) {
		say(" reads=0");
		return;
	}
	for (int i = 0; i < 64; i++) {
		if (pread(fd, block, 4096, i * 8192L) != 4096)
			break;
	}
	close(fd);
	say(" reads=64 elapsed=%lld", now() - begin);
}

/* To the marker files of all sessions. */
static void mark(const char *text)
{
	glob_t found;

	if (glob("/sys/kernel/relay/ltt/*/marker", 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		int fd = open(found.gl_pathv[i], O_WRONLY);

		if (write(fd, text, strlen(text)) < 0)
			perror(found.gl_pathv[i]);
		close(fd);
	}
	globfree(&found);
}

/* A service with a period of 10 ms that ends all when it is late by more than 20 ms. */
static void serves(void)
{
	char text[64];
	ns_t due = now();

	for (int i = 0; i < 200; i++) {
		struct timespec t;

		due += 10000000;
		t = (struct timespec){ due / 1000000000, due % 1000000000 };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		ns_t late = now() - due;

		if (late > 20000000) {
			snprintf(text, sizeof(text), "late by %lld us", late / 1000);
			mark(text);
			/* Let go of those that wait for the end, and stay: who is gone has no name in a snapshot. */
			kill(getppid(), SIGTERM);
			pause_ns(3000000000);
			_exit(1);
		}
		for (ns_t until = now() + 1000000; now() < until;)
			;
	}
}

/* Takes the CPU for 80 ms at real-time priority, after a second and a half. */
static void hogs(void)
{
	struct sched_param urgent = { .sched_priority = 50 };

	pause_ns(1500000000);
	if (sched_setscheduler(0, SCHED_FIFO, &urgent))
		perror("sched_setscheduler");
	for (ns_t until = now() + 80000000; now() < until;)
		;
	pause_ns(3000000000);
}

static const struct {
	const char *name;
	int cpu;
	void (*work)(void);
} works[] = {
	{ "sleeps", -1, sleeps }, { "calls", -1, calls }, { "polls", -1, polls },
	{ "forks", -1, forks }, { "touches", -1, touches }, { "spin1", 0, spins },
	{ "spin2", 0, spins }, { "spin3", 1, spins }, { "spin4", -1, spins },
	{ "spin5", -1, spins }, { "spin6", -1, spins }, { "moves", -1, moves },
	{ "ping", 1, ping }, { "pong", 1, pong }, { "pang", 0, pong },
	{ "waits", -1, waits }, { "reads", -1, reads }, { "serves", 0, serves },
	{ "hogs", 0, hogs },
};

static pid_t start(const char *name)
{
	struct state a, b;
	char comm[16];
	size_t i = 0;

	while (i < sizeof(works) / sizeof(*works) && strcmp(works[i].name, name))
		i++;
	if (i == sizeof(works) / sizeof(*works)) {
		fprintf(stderr, "%s: no such workload\n", name);
		exit(2);
	}
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(comm, sizeof(comm), "t-%s", name);
	prctl(PR_SET_NAME, comm);
	if (works[i].cpu >= 0)
		pin(works[i].cpu);
	now();
	look(&a);
	works[i].work();
	look(&b);
	say(" run=%lld delay=%lld nvcsw=%ld nivcsw=%ld faults=%ld migrations=%lld", b.run - a.run, b.delay - a.delay,
	    b.nvcsw - a.nvcsw, b.nivcsw - a.nivcsw, b.faults - a.faults, b.migrations - a.migrations);
	printf("%s %d %lld %lld%s\n", name, getpid(), a.time, b.time, said);
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	int failed = 0, how;

	if (argc < 3 || pipe(there) || pipe(back)) {
		fprintf(stderr, "usage: workloads DIRECTORY NAME[+NAME...]...\n");
		return 2;
	}
	now();
	counters(argv[1], 0);
	for (int i = 2; i < argc; i++) {
		for (char *name = strtok(argv[i], "+"); name; name = strtok(NULL, "+"))
			start(name);
		while (wait(&how) > 0)
			failed |= how;
	}
	counters(argv[1], 1);
	return failed != 0;
}
