/* shm.h - memory that several processes share (memfd). Returns -errno on failure. */
#ifndef OS_SHM_H
#define OS_SHM_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed shared memory of `size` bytes, its size sealed: no process can truncate it under the others.
 * *ret_map (NULL: not wanted) is mapped read-write. Returns the descriptor. */
int shm_new(const char *name, size_t size, void **ret_map);
/* The same, mapped over what is at `at`, which no other process, and we by no other mapping, can ever write. */
int shm_new_one_writer(const char *name, size_t size, void *at);

/* A memfd with this content, sealed against any change. Returns the descriptor. */
int shm_new_sealed(const char *name, const void *data, size_t len);

/* Maps all of a memfd of exactly this size, which can never become smaller (shrinking it would kill us). NULL: it is
 * not one. writable: else for reading alone. */
void *shm_map_fixed(int fd, size_t size, bool writable);
/* Is it one? */
bool shm_is_fixed(int fd, size_t size);

/* Maps all of a memfd that another process made, read-write. NULL: it is not one, or smaller than `least`. */
void *shm_map(int fd, size_t least);
/* The same, read-only, of one that can never become smaller; *ret_len is its size. */
const void *shm_map_read(int fd, size_t least, size_t *ret_len);

/* The same memory by a descriptor that can only be read and mapped for reading. Or -errno. */
int shm_for_reading(int fd);

/* A mapping of fd's `size` bytes can no longer be written, in this process, by any means. 0 or -errno. */
int shm_make_read_only(void *map, size_t size, int fd);

/* Maps all of a sealed memfd read-only; *ret_len is its size. Checks the seals. Returns 0 or -errno. */
int shm_map_sealed(int fd, const void **ret_map, size_t *ret_len);

#endif
