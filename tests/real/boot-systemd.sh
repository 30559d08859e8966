#!/bin/sh
# boot-systemd.sh - the system's systemd as the first process of namespaces of its own, with nothing of this
# machine to write to: /etc is a copy, /run, /var and /tmp are empty, the rest is read-only. manager.py starts it so:
#
#   unshare --fork --pid --mount --uts --ipc --net --kill-child boot-systemd.sh FOLDER NAME
#
# FOLDER is /mnt/folder there; it holds units/ and bin/, which becomes /usr/local/sbin; systemd's messages go to
# FOLDER/console.
# NAME is the control group's. "boot-systemd.sh clean NAME", when all is over, removes it.
set -eu

# with_cgroups COMMAND... - runs it where the control groups are the working directory
with_cgroups()
{
	mount --make-rprivate /
	mount -t tmpfs none /mnt
	mkdir /mnt/cgroup
	mount -t cgroup2 none /mnt/cgroup || {
		echo "no cgroup2 may be mounted here" >&2
		exit 77
	}
	(cd /mnt/cgroup && "$@")
	umount /mnt/cgroup
	umount /mnt
}

enter()
{
	mkdir -p "$1" && echo $$ >"$1/cgroup.procs" # $$, not 0: this runs in a subshell
}

clean()
{
	[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +
}

devices()
{
	mkdir /mnt/dev
	for n in null zero full random urandom tty; do
		: >"/mnt/dev/$n"
		mount --bind "/dev/$n" "/mnt/dev/$n"
	done
	: >"$1/console"
	: >/mnt/dev/console
	mount --bind "$1/console" /mnt/dev/console
	mkdir /mnt/dev/pts /mnt/dev/shm
	mount -t devpts -o newinstance,ptmxmode=666 none /mnt/dev/pts
	ln -s pts/ptmx /mnt/dev/ptmx
	ln -s /proc/self/fd /mnt/dev/fd
	mount --rbind /mnt/dev /dev
}

etc()
{
	cp -a /etc /mnt/etc
	rm -rf /mnt/etc/systemd /mnt/etc/machine-id
	mkdir /mnt/etc/systemd
	echo 0123456789abcdef0123456789abcdef >/mnt/etc/machine-id
	mount --bind /mnt/etc /etc
}

boot()
{
	mount -t tmpfs -o mode=755 none /mnt
	devices "$1"
	etc
	mkdir /mnt/folder /mnt/var /mnt/tmp
	mount --bind "$1" /mnt/folder
	mount --bind /mnt/folder/bin /usr/local/sbin
	mount --bind /mnt/var /var
	mount --bind /mnt/tmp /tmp
	mount -o remount,bind,ro /
	mount -t proc none /proc
	mount --bind /proc/sys /proc/sys
	mount -o remount,bind,ro /proc/sys
	mount -t tmpfs -o mode=755 none /run
	umount -R /sys
	mount -t sysfs -o ro none /sys
	mount -t cgroup2 none /sys/fs/cgroup
	ip link set lo up
	exec env -i PATH="$PATH" container=tcpproxy-test SYSTEMD_UNIT_PATH=/mnt/folder/units \
		setpriv --bounding-set -sys_time,-sys_module,-sys_boot \
		/lib/systemd/systemd --system --log-target=console --show-status=no
}

case "$1" in
clean)
	with_cgroups clean "$2"
	;;
in-cgroup)
	boot "$2"
	;;
*)
	with_cgroups enter "$2"
	exec unshare --cgroup "$0" in-cgroup "$1"
	;;
esac
