#include "os/journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void journal_init(struct journal *j, const char *path)
{
	logsock_init(&j->sock, path ? path : JOURNAL_PATH);
	j->entry = (struct buf)BUF_INIT;
	buf_reserve(&j->entry, LOGSOCK_ROOM);
}

void journal_release(struct journal *j)
{
	logsock_release(&j->sock);
	buf_release(&j->entry);
}

void journal_add(struct buf *entry, const char *key, const char *value)
{
	size_t len = strlen(value);
	uint64_t wire_len = htole64(len);

	buf_adds(entry, key);
	if (strchr(value, '\n')) { /* then the value's length stands before it */
		buf_addc(entry, '\n');
		buf_add(entry, &wire_len, sizeof(wire_len));
	} else {
		buf_addc(entry, '=');
	}
	buf_add(entry, value, len);
	buf_addc(entry, '\n');
}

/* The journal takes a memfd only if it can no longer be changed. Returns it, or -errno. */
static int sealed_copy(const struct buf *entry)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	int fd = memfd_create("journal-entry", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = write(fd, entry->s, entry->len);
	if (n == (ssize_t)entry->len && fcntl(fd, F_ADD_SEALS, seals) == 0)
		return fd;
	err = n < 0 || n == (ssize_t)entry->len ? -errno : -ENOSPC;
	close(fd);
	return err;
}

int journal_send(struct journal *j, const struct buf *entry)
{
	int err = logsock_send(&j->sock, entry->s, entry->len, -1);
	int fd;

	if (err != -EMSGSIZE && err != -ENOBUFS)
		return err;
	fd = sealed_copy(entry);
	if (fd < 0)
		return fd;
	err = logsock_send(&j->sock, "", 0, fd);
	close(fd);
	return err;
}
