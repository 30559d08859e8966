/*
 * sandbox.h - what a worker may still do: move bytes, and be replaced. No file, no program, no
 * process but the members of its trio.
 */
#ifndef OS_SANDBOX_H
#define OS_SANDBOX_H

/* Puts no_new_privs, landlock (no file at all) and a system call filter on this process, each as far as
 * the kernel and the build have it. Returns a text that names what could not be had, or NULL. */
const char *sandbox_worker(void);

#endif
