#include "page/http_library.h"

#include <dlfcn.h>

#define LIBRARY "libmicrohttpd.so.12"

struct http_library mhd;

const char *http_library_load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return dlerror();
#define F(name)                                             \
	*(void **)&mhd.name = dlsym(library, "MHD_" #name); \
	if (!mhd.name)                                      \
		return dlerror();
	MHD_FUNCTIONS(F)
#undef F
	return NULL;
}
