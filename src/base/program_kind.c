#include "base/program_kind.h"

const char *program_kind_name(enum program_kind kind)
{
	static const char *const names[PROGRAM_KINDS] = {[PROGRAM_ACP] = "acp",
	                                                 [PROGRAM_CHECK] = "check",
	                                                 [PROGRAM_NOTIFY] = "notify",
	                                                 [PROGRAM_SERVERS] = "servers"};

	return names[kind];
}
