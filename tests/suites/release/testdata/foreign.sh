#!/bin/sh
# Installs the package $2 for the architecture $1 on a fresh Debian in the folder $3, in
# a user and mount namespace of its own. "FAILED" or an error ends the test.
set -eu
arch=$1
deb=$2
mirror=$("$(dirname "$0")/../../../../board/mirror")
cd "$3"

fail() { echo "FAILED: $*"; exit 1; }
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
    fail "the kernel has no binfmt_misc for a user namespace: Linux 6.7 or later has"
for qemu in aarch64 arm; do
    cat /usr/lib/binfmt.d/qemu-$qemu.conf >/proc/sys/fs/binfmt_misc/register
done

mmdebstrap --quiet --mode=root --architectures="$arch" --variant=minbase --include=systemd,tpm-udev \
    --skip=check/qemu --skip=output/mknod "${mirror##* }" root "${mirror% *}"
cp "$deb" root/sealpost.deb

inside() { chroot root env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
echo "== install"
inside dpkg --install /sealpost.deb >log 2>&1 || { cat log; fail "not installed"; }
cat log
grep -q 'not set up: edit /etc/sealpost/sealpost.toml' log || fail "nothing says that it is not set up"
inside dpkg --verify sealpost
inside id sealpost | grep tss || fail "the user is not in the group tss"
[ "$(inside stat --format '%U %G %a' /var/lib/sealpost)" = "sealpost sealpost 700" ] || fail "the state is not the user's own"
[ -L root/etc/systemd/system/multi-user.target.wants/sealpost.service ] || fail "the unit is not enabled"
inside systemd-analyze --man=no verify sealpost.service || fail "the unit has mistakes"
inside sealpost version
inside sealpost config check /etc/sealpost/sealpost.toml && fail "the installed settings are complete"
printf '[senders]\naccepted_domains = ["contoso.com"]\n' >root/tmp/sealpost.toml
inside sealpost config check /tmp/sealpost.toml

echo "== purge"
inside dpkg --purge sealpost || fail "not purged"
for left in root/var/lib/sealpost root/etc/sealpost root/usr/bin/sealpost root/etc/systemd/system/multi-user.target.wants/sealpost.service; do
    if [ -e "$left" ] || [ -L "$left" ]; then fail "the purge left $left"; fi
done
echo "== finished"
