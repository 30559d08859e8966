/*
 * sandbox.h - what the processes that strangers can speak to may still do. A worker: move bytes, and be
 * replaced; no file, no program, no process but the members of its trio. The server of the page: answer,
 * and look at /proc; no connection of its own, no program, no process.
 */
#ifndef OS_SANDBOX_H
#define OS_SANDBOX_H

/* Both put no_new_privs, landlock and a system call filter on this process, each as far as the kernel and
 * the build have it. They return a text that names what could not be had, or NULL. */
const char *sandbox_worker(void);
const char *sandbox_page(void);

#endif
