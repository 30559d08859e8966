/* name_answer.h - how a question for a name has ended, where it is counted. */
#ifndef BASE_NAME_ANSWER_H
#define BASE_NAME_ANSWER_H

enum name_answer {
	NAME_GOOD,
	NAME_NONE,   /* there is no such name, or it has nothing of what was asked for */
	NAME_FAILED, /* nobody has answered, or nobody wanted to */
};
#define NAME_ANSWERS (NAME_FAILED + 1)

const char *name_answer_word(enum name_answer kind); /* "answer", "none", "failed" */

#endif
