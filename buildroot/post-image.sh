#!/bin/sh
# Builds the image of the card from the kernel, its device trees and the firmware.
# Buildroot and board/card call it as
#
#     buildroot/post-image.sh IMAGES BOARD
set -eu

images=$1
board=$2
here=$(dirname "$0")
firmware=$images/rpi-firmware
card=$images/card
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# choice is the content of partition 1, which selects a slot; slot is that of each slot.
rm -rf "$card"
mkdir -p "$card/choice" "$card/slot"
cp "$here/autoboot.txt" "$card/choice/"
# The firmware's licence demands that it accompanies the firmware.
if [ -f "$images/LICENSES.txt" ]; then
    cp "$images/LICENSES.txt" "$card/choice/"
fi
if [ -f "$firmware/bootcode.bin" ]; then
    # The Pi 3's ROM loads bootcode.bin from the first partition, which must also have
    # a config.txt.
    cp "$firmware/bootcode.bin" "$card/choice/"
    : > "$card/choice/config.txt"
fi

cp "$firmware"/*.elf "$firmware"/*.dat "$firmware/config.txt" "$firmware/cmdline.txt" "$card/slot/"
cp "$images/$(sed -n 's/^kernel=//p' "$firmware/config.txt")" "$card/slot/"

# The overlays are applied here rather than by the firmware: the kernel's device trees
# have none of the parameters that the firmware's overlays change.
for overlay in "$here"/../board/overlays/*.dtso; do
    dtc -@ -q -I dts -O dtb -o "$scratch/$(basename "$overlay" .dtso).dtbo" "$overlay"
done
# devicetree NAME FIRMWARE-NAME OVERLAY... makes the file that the firmware looks for
# from the kernel's, and lists the overlays for the bill of materials.
: > "$images/overlays"
devicetree() {
    from=$images/$1.dtb
    to=$card/slot/$2.dtb
    shift 2
    for overlay in "$@"; do basename "$overlay" .dtbo | sed 's/$/.dtso/'; done >> "$images/overlays"
    fdtoverlay -i "$from" -o "$to" "$@"
}
case $board in
rpi4) devicetree bcm2711-rpi-4-b bcm2711-rpi-4-b "$scratch/sealpost.dtbo" ;;
cm4) devicetree bcm2711-rpi-cm4-io bcm2711-rpi-cm4 "$scratch/sealpost.dtbo" "$scratch/otg.dtbo" ;;
rpi3)
    devicetree bcm2837-rpi-3-b bcm2710-rpi-3-b "$scratch/sealpost.dtbo"
    devicetree bcm2837-rpi-3-b-plus bcm2710-rpi-3-b-plus "$scratch/sealpost.dtbo"
    ;;
*)
    echo "There is no device tree for the board \"$board\"." >&2
    exit 2
    ;;
esac

# The same files always make the same image. FAT has local times.
export TZ=UTC
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
    find "$card" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
fi

genimage --config "$here/genimage.cfg" --rootpath "$card" --tmppath "$scratch/genimage" \
    --inputpath "$images" --outputpath "$images"
