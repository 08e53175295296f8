#!/bin/sh
# Builds the image of the card. Buildroot calls it as
#
#     buildroot/post-image.sh IMAGES BOARD
set -eu

images=$1
here=$(dirname "$0")
firmware=$images/rpi-firmware
card=$images/card

# choice is the content of partition 1, which selects a slot; slot is that of each slot.
rm -rf "$card"
mkdir -p "$card/choice" "$card/slot/overlays"
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
cp "$images"/*.dtb "$card/slot/"
cp "$images/$(sed -n 's/^kernel=//p' "$firmware/config.txt")" "$card/slot/"
sed -n 's/^dtoverlay=\([^,]*\).*/\1/p' "$firmware/config.txt" | while read -r overlay; do
    cp "$firmware/overlays/$overlay.dtbo" "$card/slot/overlays/"
done

# The same files always make the same image.
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
    find "$card" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
genimage --config "$here/genimage.cfg" --rootpath "$card" --tmppath "$scratch" \
    --inputpath "$images" --outputpath "$images"
