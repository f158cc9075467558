#!/bin/bash
# The first process of a host: FOLDER has its tmp, passwd, shadow and sshd_config. It ends with its
# input.
set -eu
folder=$1
mount -t proc proc /proc
mount --bind "$folder/tmp" /tmp
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/shadow" /etc/shadow
mount -t tmpfs -o size=1g shm /dev/shm
mount -t tmpfs run /run
mkdir /run/sshd
hostname "$(basename "$folder")"
ip link set lo up
/usr/sbin/sshd -f "$folder/sshd_config" -E "$folder/sshd.log"
echo ready
# Processes that lose their parent become this one's children; bash reaps them while it waits here.
read -r _ || true
