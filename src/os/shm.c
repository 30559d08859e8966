#include "os/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE /* Linux 5.1 */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int new_memfd(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static int new_mapped(const char *name, size_t size, void *at, int seals, void **ret_map)
{
	int fd = new_memfd(name, size);
	void *map;

	if (fd < 0)
		return fd;
	map = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
	if (map == MAP_FAILED || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		int error = errno;

		if (map != MAP_FAILED && !at)
			munmap(map, size);
		close(fd);
		return -error;
	}
	*ret_map = map;
	return fd;
}

int shm_new(const char *name, size_t size, void **ret_map)
{
	void *map = NULL;
	int fd = new_mapped(name, size, NULL, SIZE_SEALS, &map);

	if (fd >= 0 && ret_map)
		*ret_map = map;
	else if (fd >= 0)
		munmap(map, size);
	return fd;
}

int shm_new_one_writer(const char *name, size_t size, void *at)
{
	void *map;

	return new_mapped(name, size, at, SIZE_SEALS | F_SEAL_FUTURE_WRITE, &map);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int shm_new_sealed(const char *name, const void *data, size_t len)
{
	int fd = new_memfd(name, 0);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_all(fd, data, len);
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_WRITE) < 0)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

void *shm_map(int fd, size_t least)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size < least)
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

bool shm_is_fixed(int fd, size_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && seals & F_SEAL_SHRINK && fstat(fd, &st) == 0 && (size_t)st.st_size == size;
}

void *shm_map_fixed(int fd, size_t size, bool writable)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *map = shm_is_fixed(fd, size) ? mmap(NULL, size, prot, MAP_SHARED, fd, 0) : MAP_FAILED;

	return map == MAP_FAILED ? NULL : map;
}

const void *shm_map_read(int fd, size_t least, size_t *ret_len)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *map;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || (size_t)st.st_size < least)
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	*ret_len = (size_t)st.st_size;
	return map == MAP_FAILED ? NULL : map;
}

int shm_for_reading(int fd)
{
	char path[40];
	int reading;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reading = open(path, O_RDONLY | O_CLOEXEC);
	return reading < 0 ? -errno : reading;
}

/* What is mapped from a description that is open for reading cannot be made writable again. */
int shm_make_read_only(void *map, size_t size, int fd)
{
	int rc = 0, reading = shm_for_reading(fd);

	if (reading < 0)
		return reading;
	if (mmap(map, size, PROT_READ, MAP_SHARED | MAP_FIXED, reading, 0) == MAP_FAILED)
		rc = -errno;
	close(reading);
	return rc;
}

int shm_map_sealed(int fd, const void **ret_map, size_t *ret_len)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *map;

	if (seals < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE))
		return -EPERM;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*ret_map = map;
	*ret_len = (size_t)st.st_size;
	return 0;
}
