// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * loop getppid|pipe ROUNDS: nanoseconds a round, to two digits, on standard output.
 *
 * getppid is the cheapest system call that the C library does not answer itself. pipe sends a byte to another process and
 * waits for it to come back: two switches a round, where there is one CPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void calls(long rounds)
{
	while (rounds--)
		syscall(SYS_getppid);
}

static int to[2], from[2];

static void echo(void)
{
	char byte;

	close(to[1]);
	while (read(to[0], &byte, 1) == 1)
		if (write(from[1], &byte, 1) != 1)
			break;
	_exit(0);
}

static void pingpong(long rounds)
{
	char byte = 'x';

	while (rounds--)
		if (write(to[1], &byte, 1) != 1 || read(from[0], &byte, 1) != 1)
			exit(1);
}

int main(int argc, char **argv)
{
	void (*work)(long rounds) = argc == 3 && !strcmp(argv[1], "pipe") ? pingpong : calls;
	long rounds = argc == 3 ? atol(argv[2]) : 0;
	long long begin, end;

	if (rounds < 1) {
		fprintf(stderr, "usage: loop getppid|pipe ROUNDS\n");
		return 2;
	}
	if (work == pingpong) {
		if (pipe(to) || pipe(from))
			return 1;
		if (!fork())
			echo();
	}
	work(rounds / 10 + 1);	/* warm */
	begin = now();
	work(rounds);
	end = now();
	printf("%.2f\n", (double)(end - begin) / rounds);
	close(to[1]);
	return 0;
}
