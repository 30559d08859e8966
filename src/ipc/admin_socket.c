#include "ipc/admin_socket.h"

#include <unistd.h>

void admin_sockets_let_go(struct admin_sockets *sockets)
{
	for (size_t i = 0; i < sockets->n; i++) {
		close(sockets->list[i].fd);
		sockets->list[i].fd = -1;
	}
}
