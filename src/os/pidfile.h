/*
 * pidfile.h - written to a temporary name and renamed, so that it is whole at any instant, and that a link put in its
 * place is replaced, not followed (one that only root can have made is followed: os/safepath.h).
 */
#ifndef OS_PIDFILE_H
#define OS_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* 0 or -errno. safely: others than root shall not lead us anywhere (os/safepath.h). wait: until a FIFO has a reader. */
int pidfile_write(const char *path, pid_t pid, bool safely, bool wait);
int pidfile_write_at(int dir, const char *name, pid_t pid, bool wait);

#endif
