#!/bin/sh
# Removes everything from the root file system that the box does not need. Buildroot
# calls it on a copy of its target, board/card on its own, as
#
#     buildroot/post-fakeroot.sh ROOT BOARD
set -eu

for file in init etc/sealpost/board.toml; do
    [ -f "$1/$file" ] || { echo "$1 has no $file" >&2; exit 1; }
done
# Buildroot still needs run and tmp.
find "$1" -mindepth 1 -depth \
    ! -path "$1/init" ! -path "$1/dev" ! -path "$1/run" ! -path "$1/tmp" \
    ! -path "$1/etc" ! -path "$1/etc/sealpost" ! -path "$1/etc/sealpost/board.toml" \
    -delete
# Without a console, the kernel starts the program without standard files, and Go
# opens /dev/null instead.
: > "$1/dev/null"
# The modes are those of no device table and no umask.
find "$1" -type d -exec chmod 755 {} +
chmod 755 "$1/init"
chmod 644 "$1/dev/null" "$1/etc/sealpost/board.toml"
