#include "base/progress.h"

unsigned long progress_made;
