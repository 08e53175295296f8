#!/bin/sh
# Makes the files disk, vmlinuz and initrd of a fresh Debian in the folder $1, from the
# mirror that apt uses. At the end of its start the guest runs guest.sh from the tar
# archive on its second disk, and turns itself off.
set -eu
mirror=$("$(dirname "$0")/../../../../board/mirror")
cd "$1"

packages=systemd,systemd-sysv,dbus,udev,linux-image-amd64,initramfs-tools,postfix,openssl,iproute2,tpm-udev
suite=${mirror##* }
mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" root.tar "${mirror% *}"

mkdir root
tar -xf root.tar -C root
cp root/boot/vmlinuz-* vmlinuz
cp root/boot/initrd.img-* initrd
units=root/etc/systemd/system
cat >$units/guest.service <<'U'
[Unit]
After=multi-user.target
[Service]
Type=idle
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'mkdir -p /opt/guest && tar -xf /dev/vdb -C /opt/guest && bash /opt/guest/guest.sh'
ExecStopPost=/bin/systemctl poweroff --force --force
U
ln -s ../guest.service $units/multi-user.target.wants/guest.service
# guest.sh starts Postfix itself, and its output has the serial line alone.
ln -sf /dev/null $units/postfix.service
ln -sf /dev/null $units/serial-getty@ttyS0.service
echo '/dev/vda / ext4 defaults 0 1' >root/etc/fstab
echo guest >root/etc/hostname
echo '127.0.0.1 localhost guest' >root/etc/hosts
rm -f root/etc/resolv.conf
mke2fs -q -t ext4 -d root disk 3G
rm -rf root root.tar
