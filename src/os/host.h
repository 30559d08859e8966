/* host.h - what this machine is called. */
#ifndef OS_HOST_H
#define OS_HOST_H

/* Its host name, and the other names that /etc/hosts has for that ("127.0.1.1 web1.example.com web1"); no name service is
 * asked. NULL-terminated; the list and each name are the caller's (free()). */
char **host_names(void);
/* Its host name, as it was when this was first called; "localhost" if it has none that a name server could have. */
const char *host_name(void);

#endif
