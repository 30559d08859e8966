/* shm.h - memory that several processes share (memfd). Returns -errno on failure. */
#ifndef OS_SHM_H
#define OS_SHM_H

#include <stddef.h>

/* Zeroed shared memory of `size` bytes, its size sealed: nobody can truncate it under the others.
 * *ret_map is mapped read-write. Returns the descriptor. */
int shm_new(const char *name, size_t size, void **ret_map);

/* A memfd with this content, sealed against any change. Returns the descriptor. */
int shm_new_sealed(const char *name, const void *data, size_t len);

/* Maps all of a memfd that another process made, read-write. NULL: it is none, or smaller than `least`. */
void *shm_map(int fd, size_t least);
/* The same, read-only; *ret_len is its size. */
const void *shm_map_read(int fd, size_t least, size_t *ret_len);

/* A mapping of fd's `size` bytes can be written no more, in this process, by any means. 0 or -errno. */
int shm_make_read_only(void *map, size_t size, int fd);

/* Maps all of a sealed memfd read-only; *ret_len is its size. Checks the seals. Returns 0 or -errno. */
int shm_map_sealed(int fd, const void **ret_map, size_t *ret_len);

#endif
