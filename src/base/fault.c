#include "base/fault.h"

#ifdef FAULTS
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"

static uint64_t left; /* 0: it does not die */

unsigned fault_setting(const char *name)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

void fault_arm(const char *variable)
{
	const char *n = getenv(variable);
	uint64_t most = n ? strtoull(n, NULL, 10) : 0;
	uint64_t dice = mix((uint64_t)clock_mono_us() << 20 ^ (uint64_t)getpid());
	unsigned halvings = 0;

	while (most >> halvings > 1)
		halvings++;
	/* as likely below 2 as from 2 to 4, from 4 to 8 ... */
	left = most ? 1 + mix(dice) % (most >> dice % (halvings + 1)) : 0;
}

bool fault_armed(void)
{
	return left > 0;
}

static void tell(const char *file, int line)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *name = getenv("TCPPROXY_FAULTS_TO");
	char text[200];
	int n = snprintf(text, sizeof(text), "%s:%d %d", file, line, getpid());
	int fd;

	if (!name || strlen(name) > sizeof(to.sun_path) - 1)
		return;
	memcpy(to.sun_path + 1, name, strlen(name));
	unshare(CLONE_FILES); /* a keeper's: a worker must not take the socket for one that is recorded nowhere */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sendto(fd, text, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&to,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
	close(fd);
}

void fault_point(const char *file, int line)
{
	if (left == 0 || --left > 0)
		return;
	tell(file, line);
	kill(getpid(), SIGKILL);
}

void fault_ask(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *name = getenv("TCPPROXY_FAULT_ASKS");
	char text[100] = "";
	int fd;

	if (!name || strlen(name) > sizeof(to.sun_path) - 1 || fork() != 0)
		return;
	memcpy(to.sun_path, name, strlen(name));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 100 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0; i++)
		usleep(20000);
	/* a client that is refused is told so without having asked anything */
	if (send(fd, "status\n", 7, MSG_NOSIGNAL) < 0)
		text[0] = '?';
	if (read(fd, text, sizeof(text) - 1) > 0)
		dprintf(2, "a member of a trio has asked: %s\n", text);
	_exit(0);
}

bool fault_alone(void)
{
	return getenv("TCPPROXY_ALONE") != NULL;
}
#endif
