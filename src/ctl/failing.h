/* failing.h - which servers fail, out of what tcpproxyctl status prints. */
#ifndef CTL_FAILING_H
#define CTL_FAILING_H

#include <stddef.h>

/* "db1 for 12.3s: Connection refused; db2 ...", cut to size; "" if none fails. status: valid text, which stays as it is. */
void failing_servers(const char *status, char *ret, size_t size);

#endif
