/* Gives every file of the folders that are named to a fuzzing target, as a test: what was found once stays mended. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory that ends where the input ends, so that a sanitizer sees who reads on. */
static void run_file(const char *path)
{
	static uint8_t room[1 << 20];
	FILE *f = fopen(path, "re");
	uint8_t *data;
	size_t n;

	if (!f)
		return;
	n = fread(room, 1, sizeof(room), f);
	fclose(f);
	data = mem_alloc(n);
	memcpy(data, room, n);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
}

int main(int argc, char **argv)
{
	unsigned int files = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *e;

		while (dir && (e = readdir(dir))) {
			char *path = mem_printf("%s/%s", argv[i], e->d_name);

			if (e->d_type == DT_REG) {
				run_file(path);
				files++;
			}
			free(path);
		}
		if (dir)
			closedir(dir);
	}
	printf("%u files\n", files);
	return files ? 0 : 1;
}
