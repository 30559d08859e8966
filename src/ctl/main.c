/* tcpproxyctl - asks and steers a running tcpproxy. So far it says its version. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc == 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
		printf("tcpproxyctl %s\n", TCPPROXY_VERSION);
		return 0;
	}
	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		printf("usage: tcpproxyctl -V | --version | -h | --help\n");
		return 0;
	}
	fprintf(stderr, "tcpproxyctl: this version only says what it is: try --version\n");
	return 1;
}
