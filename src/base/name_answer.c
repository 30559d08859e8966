#include "base/name_answer.h"

const char *name_answer_word(enum name_answer kind)
{
	static const char *const names[NAME_ANSWERS] = {
	        [NAME_GOOD] = "answer", [NAME_NONE] = "none", [NAME_FAILED] = "failed"};

	return names[kind];
}
