/* file.h - whole files. */
#ifndef OS_FILE_H
#define OS_FILE_H

/* What is left to read, as text (free()). A NUL in it becomes a control character that no parser takes, so it cannot hide
 * what follows. NULL: *why is a static text. At most 64 MiB. */
char *file_read_all(int fd, const char **why);

#endif
