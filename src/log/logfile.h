/*
 * logfile.h - a descriptor that lines are written to: a file, FIFO, terminal, pipe or socket.
 * Writing never waits, whatever it is, and never changes the flags of an inherited descriptor.
 */
#ifndef LOG_LOGFILE_H
#define LOG_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>

struct logfile {
	int fd;     /* -1: nothing to write to */
	bool owned; /* closed by us */
	bool is_socket;
	bool is_regular;
	bool may_block;  /* a pipe or terminal whose O_NONBLOCK is not ours to set */
	bool torn;       /* the last line stopped in the middle */
	bool is_journal; /* stderr that leads to systemd's journal ($JOURNAL_STREAM) */
};

/* Opens `path` to append, made with mode 0640 if missing; a FIFO needs no reader.
 * Returns a close-on-exec descriptor or -errno. */
int logfile_open(const char *path);

/* The same for a name in a directory that others may write, too (os/safepath.h). A new file is root's, of group adm, if we
 * may say so. only_where_roots: none is made where others than root may write. */
int logfile_open_at(int dir, const char *name, bool only_where_roots);
int logfile_open_safely(const char *path);
/* While names can be looked up: group adm, which administrators who may read logs are in. */
void logfile_find_group(void);

/* /dev/stdout and /dev/stderr are descriptors of ours: 1 or 2; else -1. */
int logfile_stream_of(const char *path);

/* f becomes the owner of fd. */
void logfile_take(struct logfile *f, int fd);

/* Descriptor 1 or 2, as it is now; if it is closed, every line is lost. */
void logfile_open_stream(struct logfile *f, int stream);

void logfile_close(struct logfile *f);

/* One write of a line that ends in a newline. Returns 0, or -errno if the line, or a part of
 * it, was lost; what is left of a torn line is ended before the next one. */
int logfile_write(struct logfile *f, const char *line, size_t len);

#endif
