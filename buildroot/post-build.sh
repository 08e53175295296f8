#!/bin/sh
# Copies board.toml to the target, and checks the kernel configuration. Buildroot
# calls it as
#
#     buildroot/post-build.sh TARGET BOARD
set -eu

here=$(dirname "$0")
install -D -m 644 "$here/../board/$2/board.toml" "$1/etc/sealpost/board.toml"

# The fragments in Buildroot's configuration, with its variable replaced.
fragments=$(sed -n 's/^BR2_LINUX_KERNEL_\(CUSTOM_CONFIG_FILE\|CONFIG_FRAGMENT_FILES\)="\(.*\)"$/\2/p' "$BR2_CONFIG" |
    sed "s|\$(BR2_EXTERNAL_SEALPOST_PATH)|$here|g")
# shellcheck disable=SC2086
"$here/check-fragments" "$BUILD_DIR/linux-custom/.config" $fragments
