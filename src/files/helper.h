/* helper.h - the process "tcpproxy: files" itself (files.h). */
#ifndef FILES_HELPER_H
#define FILES_HELPER_H

#include "files/list.h"
#include "os/user.h"

/* Becomes `identity`, with the rights to touch what is listed, and answers at `fd` until the other end is closed. */
_Noreturn void files_helper_run(int fd, const struct identity *identity, const struct files_list *list);

#endif
